module cfapi-broker.internal/pooling

go 1.21
