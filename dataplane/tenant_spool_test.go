package dataplane

import (
	"fmt"
	"net/http"
	"testing"
	"time"
)

// Goal: through an outage, too, batches come back to the tenant that they are of, with the spool behind the
// sink and with the spool before it, and nothing is lost. Method: a worker with a spooler, whose server
// refuses everything until something is in the spool.
func TestTenantsShareASpool(t *testing.T) {
	for _, always := range []bool{false, true} {
		t.Run(fmt.Sprintf("always=%t", always), func(t *testing.T) {
			server := newLineServer(t)
			server.answer(func(string) int { return http.StatusServiceUnavailable })
			config := workerConfig(t, server.server.URL, false)
			config.TenantSinks = make([]uint8, 3)
			sink := &config.Sinks[0]
			// Room for each tenant while the server's refusals come in.
			sink.Writers[0].Retry.Attempts, sink.Batches, sink.BatchBytes = 1, 32, 16<<10
			port := NewSpoolPort(config.Exchange, 0, sink.Batches)
			sink.Spools, sink.Always = []*SpoolPort{port}, always
			spooler := keepingSpooler(t, config, port)
			w, err := Start(config)
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { w.Close() })
			const rounds = 300
			for i := range rounds {
				err := w.Do(func() error {
					for tenant := range uint16(3) {
						feedTenant(t, w, tenant, fmt.Sprintf("m,t=%d v=%d %d\n", tenant, i, i+1))
					}
					return nil
				})
				if err != nil {
					t.Fatal(err)
				}
			}
			// Not all: a batch is kept to try the server with, and what comes behind it waits to be sealed.
			untilTrue(t, "something is in the spool", func() bool { return spooler.State().Taken > 0 })
			server.answer(nil)
			untilTrue(t, "all is delivered", func() bool { return server.count() == 3*rounds })
			if err := w.Drain(5 * time.Second); err != nil {
				t.Fatal(err)
			}
			var spooled uint64
			for i, l := range w.TenantLedgers() {
				spooled += l.Lanes.Spooled
				if l.Lanes.Stored != rounds || l.Lanes.Written+l.Lanes.Spooled != rounds ||
					l.Residue() != 0 || l.Lanes.InFlight != 0 {
					t.Errorf("tenant %d: %+v", i, l)
				}
			}
			if taken := spooler.State().Taken; spooled == 0 || spooled != taken {
				t.Errorf("%d points went to the spool, %d came there", spooled, taken)
			}
			err = w.Do(func() error {
				for i := range w.lanes {
					if o := w.lanes[i]; o.batches != 0 || o.held != 0 || o.parked != 0 || o.appending != 0 {
						t.Errorf("lane %d: %d batches, %d points, %d parked, %d appending", i, o.batches,
							o.held, o.parked, o.appending)
					}
				}
				return nil
			})
			if err != nil {
				t.Fatal(err)
			}
		})
	}
}

func untilTrue(t *testing.T, what string, done func() bool) {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); !done(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("waited in vain until %s", what)
		}
	}
}
