package gateway

import (
	"fmt"

	"culvert/controlplane/config"
	"culvert/controlplane/nic"
)

// Managing says that an interface may be the one by which its host is managed: the default route leaves by
// it, and XDP in its driver is asked for or would be taken. mode is as Plan.Mode tells it. Else it is empty.
func Managing(iface, mode string, defaultRoute bool) Note {
	if !defaultRoute || mode == modeGeneric || mode == modeSocket {
		return Note{}
	}
	return Note{Text: fmt.Sprintf("the host's default route leaves by %s: native XDP makes the driver set "+
		"up its queues anew, which cuts off whoever manages the host by it, for a moment if all goes well",
		iface), Remedy: "`mode: generic`, or another card for telemetry"}
}

// cautionsOf looks for such interfaces. Where routes cannot be listed nothing is known of them, and a gateway
// runs without.
func cautionsOf(c *config.Config, plan *Plan) (notes []Note) {
	for i := range c.Interfaces {
		name := c.Interfaces[i].Name
		carries, err := nic.CarriesDefaultRoute(name)
		note := Managing(name, plan.Mode(name, c.Interfaces[i].Mode), err == nil && carries)
		if note.Text != "" {
			notes = append(notes, note)
		}
	}
	return notes
}
