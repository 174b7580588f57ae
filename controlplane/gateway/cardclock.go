package gateway

import (
	"fmt"
	"log/slog"
	"slices"
	"time"

	"culvert/controlplane/attach"
	"culvert/controlplane/config"
	"culvert/controlplane/telemetry"
	"culvert/dataplane"
)

// nicTimestamps is the one probe that is on no tracepoint: the XDP program asks the driver when the card got
// a packet, for the stage nic_to_steer.
const nicTimestamps = "nic_timestamps"

// WantsCardTimes tells whether a configuration has the probe on that asks cards for the times of packets.
func WantsCardTimes(c *config.Probes) bool {
	return c.Enabled && !slices.Contains(c.Except, nicTimestamps)
}

// cardTimes is what is known of an interface's times of arrival by its card.
type cardTimes struct {
	file  string     // of the card's clock, where they were to be had when the program was attached
	clock *cardClock // nil unless the program asks for them
	// says is in words whether they come, or why not; for the log and the status.
	says string
}

// offered finds out whether a card tells when it got each packet.
func (p *probes) offered(on attach.State) (t cardTimes, err error) {
	if !p.cardTimes.Load() {
		return cardTimes{says: "switched off"}, nil
	}
	card, err := p.askCard(on)
	switch {
	case err != nil:
		t.says = "not known"
	case card.Clock == "":
		t.says = telemetry.NoCardTimes
	case card.Untold:
		t.says = "none: the driver does not tell them to XDP programs"
	case !card.Every:
		t.says = "none: the card tells those of a time protocol's packets alone"
	case !card.On:
		t.says = fmt.Sprintf("none: the card could tell them, `hwstamp_ctl -i %s -r 1` asks it to", on.Name)
	default:
		t.file, t.says = card.Clock, "by "+card.Clock
	}
	return t, err
}

// openAttachment puts the program on the interface. Where the card tells when it got each packet the program
// asks for that, if it can, and the card's clock is opened and measured; without it everything else is the
// same, and one line of the log says why.
func (g *Gateway) openAttachment(p *port, options attach.Options) (*attach.Attachment, error) {
	times, err := g.probes.offered(p.state)
	var clock *dataplane.CardClock
	if err == nil && times.file != "" {
		clock, err = dataplane.OpenCardClock(times.file)
	}
	options.CardTime = clock != nil
	attachment, failed := attach.Open(options)
	if failed == nil && clock != nil {
		_, err = attachment.CardTime()
	}
	if clock != nil && (failed != nil || err != nil) {
		_ = clock.Close()
		clock = nil
	}
	if failed != nil {
		return nil, failed
	}
	if err != nil {
		times.says = "none: " + err.Error()
		p.log.Warn("probe is missing", "probe", nicTimestamps, "error", err)
	}
	if clock != nil {
		times.clock = keepCardClock(clock, p.log)
	}
	p.cardTimes = times
	return attachment, nil
}

// closeAttachment takes the program off an interface and lets go of the card's clock.
func (p *port) closeAttachment() error {
	err := p.attachment.Close()
	p.attachment = nil
	p.cardTimes.clock.close()
	p.cardTimes = cardTimes{}
	return err
}

// cardClock is a card's clock, and who measures it.
type cardClock struct {
	*dataplane.CardClock
	stop, done chan struct{}
}

// keepCardClock measures a clock until it is closed.
func keepCardClock(clock *dataplane.CardClock, log *slog.Logger) *cardClock {
	c := &cardClock{CardClock: clock, stop: make(chan struct{}), done: make(chan struct{})}
	go c.keep(log)
	return c
}

// keep measures. A failure is logged once, however long it lasts.
func (c *cardClock) keep(log *slog.Logger) {
	defer close(c.done)
	due := time.NewTicker(dataplane.CardClockInterval)
	defer due.Stop()
	failed := false
	for {
		err := c.Measure()
		if err != nil && !failed {
			log.Warn("no times of arrival by the card", "error", err)
		}
		failed = err != nil
		select {
		case <-c.stop:
			return
		case <-due.C:
		}
	}
}

// close ends the measuring. No clock is fine.
func (c *cardClock) close() {
	if c == nil {
		return
	}
	close(c.stop)
	<-c.done
	// It was read alone: nothing can be lost.
	_ = c.Close()
}

// known is the clock for the workers; nil where there is none.
func (c *cardClock) known() *dataplane.CardClock {
	if c == nil {
		return nil
	}
	return c.CardClock
}

// reloadCardTimes attaches anew where the card's times are to be had now and were not before, or are not to
// be asked for any more, and tells the report. Packets take the kernel's sockets meanwhile.
func (g *Gateway) reloadCardTimes(c *config.Probes, report *telemetry.Reload) {
	g.mutex.Lock()
	defer g.mutex.Unlock()
	before := g.cardTimesOn()
	g.probes.cardTimes.Store(WantsCardTimes(c))
	for _, p := range g.interfaces {
		if p.attachment == nil {
			continue
		}
		if times, err := g.probes.offered(p.state); err == nil && times.file != p.cardTimes.file {
			p.log.Info("times of arrival by the card: attaching anew", "before", p.cardTimes.says,
				"now", times.says)
			g.report(p, g.lower(p))
			g.report(p, g.raise(p))
		}
	}
	switch now := g.cardTimesOn(); {
	case now && before:
		report.Probes.Kept = append(report.Probes.Kept, nicTimestamps)
	case now:
		report.Probes.Added = append(report.Probes.Added, nicTimestamps)
	case before:
		report.Probes.Removed = append(report.Probes.Removed, nicTimestamps)
	}
}

// cardTimesOn tells whether any interface has times of arrival by its card. The caller holds the mutex.
func (g *Gateway) cardTimesOn() bool {
	return slices.ContainsFunc(g.interfaces, func(p *port) bool { return p.cardTimes.clock != nil })
}
