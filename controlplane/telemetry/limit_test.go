package telemetry

import (
	"log/slog"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// lockedText is a log that is read while a timer may write it.
type lockedText struct {
	mutex sync.Mutex
	text  strings.Builder
}

func (l *lockedText) Write(p []byte) (int, error) {
	l.mutex.Lock()
	defer l.mutex.Unlock()
	return l.text.Write(p)
}

func (l *lockedText) String() string {
	l.mutex.Lock()
	defer l.mutex.Unlock()
	return l.text.String()
}

// Goal: a flood of one message is cut, the number kept back is said, other messages come through, and
// afterwards the message comes again.
func TestLimitLog(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var text lockedText
		log := slog.New(LimitLog(slog.NewTextHandler(&text, nil)))
		count := func(part string) int { return strings.Count(text.String(), part) }
		for i := range limitBurst + 7 {
			log.With("worker", i).Warn("flood", "n", i)
		}
		log.WithGroup("g").Info("single", "a", 1)
		log.Debug("quiet")
		if count("msg=flood") != limitBurst || count("msg=single g.a=1") != 1 || count("quiet") != 0 ||
			count("worker=3 n=3") != 1 {
			t.Errorf("%s", text.String())
		}
		time.Sleep(limitInterval)
		synctest.Wait()
		want := `level=WARN msg="log lines suppressed" message=flood suppressed=7 in=10s`
		if count(want) != 1 || count("suppressed") != 2 {
			t.Errorf("%s", text.String())
		}
		log.Warn("flood")
		if count("msg=flood") != limitBurst+1 {
			t.Error("the message does not come again")
		}
		time.Sleep(limitInterval)
		synctest.Wait()
		if count("log lines suppressed") != 1 {
			t.Error("nothing was suppressed, and it says so")
		}
	})
}
