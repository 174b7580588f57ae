package gateway

import (
	"fmt"

	"culvert/controlplane/config"
	"culvert/controlplane/nic"
	"culvert/dataplane"
)

// busyPollOf says why busy polling that is asked for is left off, if it is.
func busyPollOf(c *config.Interface) Note {
	if !c.BusyPoll.On {
		return Note{}
	}
	driver, err := nic.Driver(c.Name)
	if err == nil && !nic.BusyPolls(driver) {
		return Note{Text: fmt.Sprintf("busy_poll of %s is left off: driver %q is not known to do it well",
			c.Name, driver), Remedy: "`busy_poll: off`"}
	}
	return Note{}
}

// busyPoll is how a socket is to be polled. One of a queue's is enough: they all receive by it.
func (p *port) busyPoll(member int) dataplane.BusyPoll {
	if !p.config.BusyPoll.On || member > 0 || !nic.BusyPolls(p.attachment.Driver()) {
		return dataplane.BusyPoll{}
	}
	return dataplane.BusyPoll{Budget: p.config.BusyPoll.Budget, Usecs: p.config.BusyPoll.Usecs}
}

// polled tells whether busy polling serves an interface now, and what became of it where a queue found it
// useless. The mutex is held.
func (p *port) polled() (polls bool, why string) {
	for _, s := range p.queues {
		if s.queue == nil || s.member > 0 {
			continue
		}
		switch state, share := s.queue.Polling(); state {
		case dataplane.PollUseless:
			why = fmt.Sprintf("busy_poll of %s ended on queue %d: %d %% of its packets came by polling, the "+
				"rest by interrupts: ", p.config.Name, s.number, share)
			if nic.DefersByQueue(p.state.Index) {
				// They were told to wait, and came all the same.
				why += "`busy_poll: off`"
			} else {
				why += fmt.Sprintf("`culvert tune apply -i %s -c FILE` lets them wait", p.config.Name)
			}
		case dataplane.PollOn, dataplane.PollTrying:
			polls = true
		}
	}
	return polls, why
}
