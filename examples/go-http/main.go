// An HTTP server in Go's net/http. TLS ends outside of it: Enarx.toml says so, and the program need not know.
package main

import (
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"os"
	"runtime"
	"strings"
	"time"
)

const (
	listenerName  = "web"
	maxBody       = 1 << 20 // bytes
	headerTimeout = 10 * time.Second
	idleTimeout   = 60 * time.Second
)

// listener finds the socket that Enarx.toml calls listenerName: FD_NAMES has the names in the order of descriptors.
func listener() (net.Listener, error) {
	for fd, name := range strings.Split(os.Getenv("FD_NAMES"), ":") {
		if name == listenerName {
			file := os.NewFile(uintptr(fd), name)
			defer file.Close()
			return net.FileListener(file)
		}
	}
	return nil, fmt.Errorf("Enarx.toml has no socket named %q", listenerName)
}

func hello(w http.ResponseWriter, _ *http.Request) {
	fmt.Fprintf(w, "Hello from %s on %s/%s, inside a Keep.\n", runtime.Version(), runtime.GOOS, runtime.GOARCH)
}

// upper sends the request's body back in upper case.
func upper(w http.ResponseWriter, r *http.Request) {
	if r.Method != http.MethodPost {
		w.Header().Set("Allow", http.MethodPost)
		http.Error(w, "send it with POST", http.StatusMethodNotAllowed)
		return
	}
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxBody))
	if err != nil {
		http.Error(w, "at most 1 MiB", http.StatusRequestEntityTooLarge)
		return
	}
	io.WriteString(w, strings.ToUpper(string(body)))
}

func main() {
	log.SetFlags(0)
	l, err := listener()
	if err != nil {
		log.Fatal("go-http: ", err)
	}
	mux := http.NewServeMux()
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/" {
			http.NotFound(w, r)
			return
		}
		hello(w, r)
	})
	mux.HandleFunc("/upper", upper)
	server := &http.Server{Handler: mux, ReadHeaderTimeout: headerTimeout, IdleTimeout: idleTimeout}
	log.Fatal("go-http: ", server.Serve(l))
}
