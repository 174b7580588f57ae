package doctor

import (
	"fmt"
	"os"
	"os/user"
	"strconv"
	"syscall"

	"culvert/controlplane/attach"
)

// serviceUser is the user that the gateway's unit runs it as.
const serviceUser = "culvert"

// timestamps looks whether the stage nic_to_steer can be measured, where the card has a clock. Nothing here
// is needed: whoever wants the stage is told what it takes.
func (e *examination) timestamps(card *Card) {
	const check = "timestamps"
	times := card.Times
	if times.Clock == "" || card.TimesOff || card.Mode == "socket" {
		return
	}
	if times.Untold || !times.Every || card.Mode == "generic" || card.Below != attach.Itself {
		e.add(Pass, check, card.Name, "", "latencies begin in XDP: not every packet's time by the card's "+
			"clock, %s, gets to the program", times.Clock)
		return
	}
	if !times.On {
		e.add(Pass, check, card.Name,
			fmt.Sprintf("`hwstamp_ctl -i %s -r 1` (linuxptp), and `culvert reload`", card.Name),
			"latencies begin in XDP: the card can tell when it got each packet, by %s, and is not asked to",
			times.Clock)
		return
	}
	if card.ClockKept != "" {
		e.add(Warn, check, card.Name,
			fmt.Sprintf("`chgrp %s %s; chmod g+r %[2]s`; docs/host.md has it for good", serviceUser,
				times.Clock),
			"the card tells when it got each packet, and its clock, %s, %s", times.Clock, card.ClockKept)
		return
	}
	e.add(Pass, check, card.Name, "", "the card tells when it got each packet, by %s: see the stage "+
		"nic_to_steer", times.Clock)
}

// keptFrom says why a gateway cannot read a clock's file: as the service's user where there is that,
// otherwise as this process's. Empty: it can.
func keptFrom(file string) string {
	about, err := os.Stat(file)
	if err != nil {
		return "is not there"
	}
	account, err := user.Lookup(serviceUser)
	owner, known := about.Sys().(*syscall.Stat_t)
	if err != nil || !known {
		opened, err := os.Open(file)
		if err != nil {
			return "may not be read by this user"
		}
		opened.Close()
		return ""
	}
	groups, err := account.GroupIds()
	if err != nil {
		groups = []string{account.Gid}
	}
	mode := about.Mode().Perm()
	switch {
	case strconv.FormatUint(uint64(owner.Uid), 10) == account.Uid && mode&0o400 != 0, mode&0o004 != 0:
		return ""
	case mode&0o040 != 0:
		for _, group := range groups {
			if group == strconv.FormatUint(uint64(owner.Gid), 10) {
				return ""
			}
		}
	}
	return fmt.Sprintf("may not be read by user %s", serviceUser)
}
