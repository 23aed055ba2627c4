package main

import (
	"fmt"
	"net/http"
	"os"
	"strings"
	"sync"
	"time"
)

// observe logs requests and disturbs blob downloads as the options say.
func observe(o options, next http.Handler) (http.Handler, error) {
	var log *os.File
	if o.requests != "" {
		f, err := os.OpenFile(o.requests, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o644)
		if err != nil {
			return nil, err
		}
		log = f
	}
	var mu sync.Mutex
	breaks := o.breakTimes
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		rec := &recorder{ResponseWriter: w, rate: o.bytesPerSecond, limit: -1}
		blob := r.Method == http.MethodGet && strings.Contains(r.URL.Path, "/blobs/sha256:")
		if !blob {
			rec.rate = 0
		} else if o.breakAfter > 0 {
			rec.limit = o.breakAfter
			rec.mayBreak = func() bool { // a blob below the limit does not count
				mu.Lock()
				defer mu.Unlock()
				breaks--
				return breaks >= 0
			}
		}
		defer func() {
			if log != nil {
				// O_APPEND keeps concurrent lines whole; a full disk shows in the test.
				fmt.Fprintf(log, "%s %s range=%q status=%d bytes=%d\n", r.Method, r.URL.Path, r.Header.Get("Range"), rec.status, rec.written)
			}
		}()
		next.ServeHTTP(rec, r)
	}), nil
}

// recorder notes status and size, slows a response down and breaks it off.
type recorder struct {
	http.ResponseWriter
	status  int
	written int64
	limit   int64 // bytes until the connection breaks; -1: never
	rate    int   // bytes per second; 0: unlimited

	mayBreak func() bool
}

func (r *recorder) WriteHeader(status int) {
	r.status = status
	r.ResponseWriter.WriteHeader(status)
}

func (r *recorder) Write(p []byte) (int, error) {
	if r.status == 0 {
		r.status = http.StatusOK
	}
	if r.limit >= 0 && r.written+int64(len(p)) > r.limit && r.mayBreak() {
		n, _ := r.ResponseWriter.Write(p[:r.limit-r.written])
		r.written += int64(n)
		if f, ok := r.ResponseWriter.(http.Flusher); ok {
			f.Flush()
		}
		panic(http.ErrAbortHandler) // net/http closes the connection without a word
	}
	if r.rate > 0 {
		time.Sleep(time.Duration(len(p)) * time.Second / time.Duration(r.rate))
	}
	n, err := r.ResponseWriter.Write(p)
	r.written += int64(n)
	return n, err
}
