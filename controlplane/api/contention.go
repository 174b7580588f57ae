package api

import (
	"net/http"
	"net/http/pprof"
	"runtime"
	"strconv"
	"sync"
)

const (
	// contentionSeconds is how long contention is watched for a question that does not say how long.
	contentionSeconds = 10
	// blockRate has one wait measured in so many nanoseconds of waiting, and mutexRate one hand-over in so
	// many: enough of them in some seconds, and too few to be felt. Workers wait in the kernel, which is
	// neither.
	blockRate = 10_000
	mutexRate = 10
)

// contention is where goroutines waited for each other. Watching costs all of them something, so it is on
// only while somebody asks.
type contention struct {
	mutex    sync.Mutex
	watchers int
}

func (c *contention) begin() {
	c.mutex.Lock()
	defer c.mutex.Unlock()
	if c.watchers++; c.watchers == 1 {
		runtime.SetBlockProfileRate(blockRate)
		runtime.SetMutexProfileFraction(mutexRate)
	}
}

func (c *contention) end() {
	c.mutex.Lock()
	defer c.mutex.Unlock()
	if c.watchers--; c.watchers == 0 {
		runtime.SetBlockProfileRate(0)
		runtime.SetMutexProfileFraction(0)
	}
}

// profile answers with what happened from now on, for as many seconds as the question says.
func (c *contention) profile(name string) http.Handler {
	of := pprof.Handler(name)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		query := r.URL.Query()
		if query.Get("seconds") == "" {
			query.Set("seconds", strconv.Itoa(contentionSeconds))
		}
		asked := r.Clone(r.Context())
		asked.URL.RawQuery, asked.Form = query.Encode(), nil
		c.begin()
		defer c.end()
		of.ServeHTTP(w, asked)
	})
}
