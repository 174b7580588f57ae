package gateway

import (
	"errors"

	"golang.org/x/sys/unix"

	"culvert/controlplane/nic"
	"culvert/dataplane"
)

// deferral is what was set of a queue's NAPI instance, so that its interrupts wait for the worker's polls.
type deferral struct {
	napi   uint32 // 0: nothing was set
	before nic.Deferral
}

// deferInterrupts has a queue that is polled go without interrupts while its worker polls. Kernels before
// 6.13 can set whole interfaces only, which is for `culvert tune`; and what somebody has set already is
// kept.
func (p *port) deferInterrupts(s *served) {
	napi, err := nic.QueueNAPI(p.state.Index, s.number)
	var before nic.Deferral
	if err == nil {
		before, err = nic.AskDeferral(napi)
	}
	if errors.Is(err, nic.ErrNotOffered) {
		return
	}
	ours := nic.PollDeferral()
	if before == ours && nic.DeviceDeferral(sysfsRoot, p.config.Name) == (nic.Deferral{}) {
		// Left by a gateway that was killed: the interface itself has none.
		before = nic.Deferral{}
	}
	if err == nil && before == (nic.Deferral{}) {
		if err = nic.SetDeferral(napi, ours); err == nil {
			s.deferral = deferral{napi: napi, before: before}
			return
		}
	}
	if err != nil {
		p.log.Warn("interrupts come while the worker polls", "queue", s.number, "error", err)
	}
}

// restoreInterrupts puts back what deferInterrupts set. An instance that is not there cannot be set: with the
// link down it is gone, with its settings or, by driver, until the link is up again; a gateway that polls
// then takes them for its own.
func (p *port) restoreInterrupts(s *served) {
	if s.deferral.napi == 0 {
		return
	}
	now, err := nic.AskDeferral(s.deferral.napi)
	if err == nil && now == nic.PollDeferral() {
		err = nic.SetDeferral(s.deferral.napi, s.deferral.before)
	}
	s.deferral = deferral{}
	if err != nil && !errors.Is(err, unix.ENOENT) {
		p.log.Warn("interrupts of a queue stay deferred", "queue", s.number, "error", err)
	}
}

// restoreUseless puts back the settings of queues whose polling has ended: nobody polls them any more, and
// each packet would wait for the kernel's timer.
func (p *port) restoreUseless() {
	for _, s := range p.queues {
		if s.queue == nil || s.deferral.napi == 0 {
			continue
		}
		if state, _ := s.queue.Polling(); state == dataplane.PollUseless {
			p.restoreInterrupts(s)
		}
	}
}
