package api

import (
	"compress/gzip"
	"io"
	"net/http"
	"runtime"
	"strings"
	"sync"
	"testing"
)

// Goal: the profiles of waiting have what goroutines waited for while somebody asked, and nothing is watched
// before and after. Method: two goroutines that fight for a lock; both profiles at once.
func TestContentionIsProfiled(t *testing.T) {
	s := start(t, Config{})
	stop := make(chan struct{})
	var fought sync.Mutex
	var fighters sync.WaitGroup
	for range 2 {
		fighters.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				fought.Lock()
				for range 1000 {
					runtime.Gosched()
				}
				fought.Unlock()
			}
		})
	}
	var both sync.WaitGroup
	for _, name := range []string{"block", "mutex"} {
		both.Go(func() {
			code, packed, _ := ask(t, s, http.MethodGet, "/debug/pprof/"+name+"?seconds=1")
			profile, err := gzip.NewReader(strings.NewReader(packed))
			if code != http.StatusOK || err != nil {
				t.Errorf("%s: %d, %v, %.200q", name, code, err, packed)
				return
			}
			// The names of functions stand in it as they are.
			text, err := io.ReadAll(profile)
			if err != nil || !strings.Contains(string(text), "TestContentionIsProfiled") {
				t.Errorf("%s: nobody waited, %v", name, err)
			}
		})
	}
	both.Wait()
	close(stop)
	fighters.Wait()
	if n := runtime.SetMutexProfileFraction(-1); n != 0 {
		t.Errorf("one hand-over in %d is still watched", n)
	}
}
