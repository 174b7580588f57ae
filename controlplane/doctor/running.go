package doctor

import "strings"

// running looks at the gateway that runs here: whether its workers, and the pages of their memory, are where
// they were planned to be. The gateway has looked; this is what it says.
func (e *examination) running() {
	const check = "gateway"
	status := e.host.Running
	if status == nil {
		return
	}
	for _, deviation := range status.Deviations {
		text, remedy, _ := strings.Cut(deviation, ": ")
		e.add(Warn, check, status.Gateway, remedy, "%s", text)
	}
	if len(status.Deviations) > 0 {
		return
	}
	pages := 0
	for i := range status.Workers {
		for _, counts := range status.Workers[i].Pages {
			for node, n := range counts {
				if node >= 0 {
					pages += n
				}
			}
		}
	}
	e.add(Pass, check, status.Gateway, "",
		"it runs as planned; %d pages of its workers' memory are where they belong", pages)
}
