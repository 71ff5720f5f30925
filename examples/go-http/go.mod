module enarx.example/go-http

go 1.21
