// A pooling proxy (httputil.ReverseProxy) in front of a broker. Callers that are refused before their
// body was read must not spoil the connection for the next caller.
//
// usage: go run . BROKER TOKEN
package main

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

const body = `{"subdomain":"acme","app":"saas-approuter"}`

// slowBody gives the body some time after the head.
type slowBody struct {
	wait time.Duration
	rest *strings.Reader
}

func (b *slowBody) Read(p []byte) (int, error) {
	if b.wait > 0 {
		time.Sleep(b.wait)
		b.wait = 0
	}
	return b.rest.Read(p)
}

func send(base, method, path, token, kind string, wait time.Duration) (int, error) {
	request, err := http.NewRequest(method, base+path, &slowBody{wait, strings.NewReader(body)})
	if err != nil {
		return 0, err
	}
	request.ContentLength = int64(len(body))
	request.Header.Set("Content-Type", kind)
	if token != "" {
		request.Header.Set("Authorization", "Bearer "+token)
	}
	answer, err := http.DefaultClient.Do(request)
	if err != nil {
		return 0, err
	}
	defer answer.Body.Close()
	_, err = io.Copy(io.Discard, answer.Body)
	return answer.StatusCode, err
}

func main() {
	broker, err := url.Parse(os.Args[1])
	if err != nil {
		panic(err)
	}
	token := os.Args[2]
	proxy := httputil.NewSingleHostReverseProxy(broker)
	// The proxy's own connections: few, and shared by all callers.
	proxy.Transport = &http.Transport{MaxConnsPerHost: 4, MaxIdleConnsPerHost: 4}
	direct := proxy.Director
	proxy.Director = func(request *http.Request) {
		direct(request)
		request.Host = broker.Host
	}
	failed := make(chan string, 10000)
	proxy.ErrorHandler = func(w http.ResponseWriter, r *http.Request, err error) {
		failed <- fmt.Sprintf("%s %s: %v", r.Method, r.URL.Path, err)
		w.WriteHeader(http.StatusBadGateway)
	}
	front := httptest.NewServer(proxy)
	defer front.Close()

	refused := []struct {
		method, path, token, kind string
		status                    int
	}{
		{"PUT", "/routes/t1", "", "application/json", 401},
		{"PUT", "/routes/t1", token, "text/plain", 415},
		{"POST", "/nowhere", token, "application/json", 404},
		{"PATCH", "/routes", token, "application/json", 405},
		{"GET", "/spaces", token, "application/json", 400},
	}
	var wrong atomic.Int32
	for _, wait := range []time.Duration{0, 500 * time.Microsecond, 2 * time.Millisecond, 10 * time.Millisecond} {
		var callers sync.WaitGroup
		for number := 0; number < 10; number++ {
			one := refused[number%len(refused)]
			callers.Add(2)
			go func() {
				defer callers.Done()
				status, err := send(front.URL, one.method, one.path, one.token, one.kind, wait)
				if err != nil || status != one.status {
					fmt.Println("refused caller:", one.method, one.path, status, err)
					wrong.Add(1)
				}
			}()
			go func() {
				defer callers.Done()
				status, err := send(front.URL, "PUT", "/routes/t1", token, "application/json", 0)
				if err != nil || (status != 200 && status != 201 && status != 429) {
					fmt.Println("valid caller:", status, err)
					wrong.Add(1)
				}
			}()
		}
		callers.Wait()
		time.Sleep(time.Second)
	}
	close(failed)
	for text := range failed {
		fmt.Println("proxy:", text)
		wrong.Add(1)
	}
	if wrong.Load() > 0 {
		fmt.Println(wrong.Load(), "failures")
		os.Exit(1)
	}
	fmt.Println("ok: no connection was spoilt")
}
