package gateway

import (
	"context"
	"sync"
	"time"
)

// spoolParts deals spool.max out among spools that hold so many bytes: equal parts, but one that holds more
// than its part keeps what it holds, and the others have so much less. A URL that comes costs nobody a point.
func spoolParts(most int64, held []int64) []int64 {
	parts := make([]int64, len(held))
	left, sharing := most, int64(len(held))
	for settled := false; !settled && sharing > 0; {
		settled = true
		part := left / sharing
		for i, bytes := range held {
			if parts[i] == 0 && bytes > part {
				parts[i] = bytes
				left, sharing = max(left-bytes, 0), sharing-1
				settled = false
			}
		}
	}
	for i := range parts {
		if parts[i] == 0 {
			parts[i] = left / sharing
		}
	}
	return parts
}

// evening is how spool.max is dealt out among spools: by one goroutine at a time.
type evening struct {
	mutex sync.Mutex
	goes  bool // one deals it out anew each second
}

// dealSpools gives each spool its part now, and each second from then on while they are not equal.
func (g *Gateway) dealSpools() {
	g.evening.mutex.Lock()
	defer g.evening.mutex.Unlock()
	if g.limitSpools() || g.evening.goes {
		return
	}
	g.evening.goes = true
	g.background.Go(func() { g.evenOut(g.life) })
}

// limitSpools gives each spool its part, and tells whether the parts are equal. The mutex of evening is held.
func (g *Gateway) limitSpools() (even bool) {
	spoolers, _ := g.spoolers()
	held := make([]int64, len(spoolers))
	for i, s := range spoolers {
		state := s.State()
		held[i] = state.Disk.Bytes
	}
	parts := spoolParts(int64(g.options.Config.Spool.Max), held)
	even = true
	for i, s := range spoolers {
		s.Limit(parts[i])
		even = even && parts[i] == parts[0]
	}
	return even
}

// evenOut deals spool.max out anew each second, until what some spool held beyond its part has gone.
func (g *Gateway) evenOut(ctx context.Context) {
	for range each(ctx, time.Second) {
		g.evening.mutex.Lock()
		even := g.limitSpools()
		g.evening.goes = !even
		g.evening.mutex.Unlock()
		if even {
			return
		}
	}
}
