// httputil.ReverseProxy in front of the broker: one pool of connections for all callers.
// One caller is refused while its body is still on the way; then another caller sends a valid PUT, which may get the same
// connection. Prints for each kind of refusal and each delay of the body what both got.
package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"strconv"
	"strings"
	"sync"
	"time"
)

// delays are between the head of a request and its body.
var delays = []time.Duration{0, 500 * time.Microsecond, 2 * time.Millisecond, 10 * time.Millisecond}

// refusal is a request that is refused before its body was read.
type refusal struct {
	status int
	head   string
}

type result struct {
	Refused int            `json:"refused"`
	Delay   string         `json:"delay"`
	Early   map[string]int `json:"early"`
	Valid   map[string]int `json:"valid"`
}

func main() {
	target, err := url.Parse(os.Getenv("URL"))
	if err != nil {
		fail(err)
	}
	times, err := strconv.Atoi(os.Getenv("TIMES"))
	if err != nil {
		fail(err)
	}
	proxy := httptest.NewServer(httputil.NewSingleHostReverseProxy(target))
	defer proxy.Close()
	address := strings.TrimPrefix(proxy.URL, "http://")
	token := os.Getenv("TOKEN")
	refused := []refusal{
		{400, head(address, "GET", "/spaces", token, "application/json")},
		{401, head(address, "PUT", "/routes/t-early", "nobody", "application/json")},
		{403, head(address, "PUT", "/routes/t-early", os.Getenv("READER"), "application/json")},
		{404, head(address, "POST", "/nowhere", token, "application/json")},
		{405, head(address, "PATCH", "/routes", token, "application/json")},
		{415, head(address, "PUT", "/routes/t-early", token, "text/plain")},
	}
	results := []*result{}
	for _, one := range refused {
		for _, delay := range delays {
			counted := &result{Refused: one.status, Delay: delay.String(), Early: map[string]int{}, Valid: map[string]int{}}
			pairs(counted, times, func() (string, string) {
				return early(address, one.head, delay), put(proxy.URL)
			})
			results = append(results, counted)
		}
	}
	if err := json.NewEncoder(os.Stdout).Encode(results); err != nil {
		fail(err)
	}
}

// pairs calls so often, two at a time, and counts what both callers got.
func pairs(counted *result, times int, call func() (string, string)) {
	var mutex sync.Mutex
	var workers sync.WaitGroup
	for range 2 {
		workers.Add(1)
		go func() {
			defer workers.Done()
			for range times / 2 {
				refused, valid := call()
				mutex.Lock()
				counted.Early[refused]++
				counted.Valid[valid]++
				mutex.Unlock()
			}
		}()
	}
	workers.Wait()
}

const body = `{"subdomain":"early","app":"bookshop-approuter"}`

func head(host, method, path, token, kind string) string {
	return fmt.Sprintf("%s %s HTTP/1.1\r\nHost: %s\r\nAuthorization: Bearer %s\r\n"+
		"Content-Type: %s\r\nContent-Length: %d\r\n\r\n", method, path, host, token, kind, len(body))
}

// early sends head and body as two packets and returns the status of the answer.
func early(address, head string, delay time.Duration) string {
	connection, err := net.Dial("tcp", address)
	if err != nil {
		return err.Error()
	}
	defer connection.Close()
	if _, err := io.WriteString(connection, head); err != nil {
		return err.Error()
	}
	time.Sleep(delay)
	if _, err := io.WriteString(connection, body); err != nil {
		return err.Error()
	}
	answer, err := http.ReadResponse(bufio.NewReader(connection), nil)
	if err != nil {
		return err.Error()
	}
	defer answer.Body.Close()
	return strconv.Itoa(answer.StatusCode)
}

// put is the valid request of another caller; it returns the status.
func put(proxy string) string {
	request, err := http.NewRequest("PUT", proxy+"/routes/t-pooled", strings.NewReader(os.Getenv("BODY")))
	if err != nil {
		return err.Error()
	}
	request.Header.Set("Authorization", "Bearer "+os.Getenv("TOKEN"))
	request.Header.Set("Content-Type", "application/json")
	answer, err := http.DefaultClient.Do(request)
	if err != nil {
		return err.Error()
	}
	defer answer.Body.Close()
	_, _ = io.Copy(io.Discard, answer.Body)
	return strconv.Itoa(answer.StatusCode)
}

func fail(err error) {
	fmt.Fprintln(os.Stderr, err)
	os.Exit(1)
}
