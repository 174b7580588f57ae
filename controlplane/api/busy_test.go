package api

import (
	"time"

	"culvert/bpf"
	"culvert/controlplane/telemetry"
	"culvert/dataplane"
	"culvert/dataplane/hist"
)

// busy is a snapshot with one of everything that has labels.
func busy() *telemetry.Snapshot {
	h := func() *hist.Snapshot {
		var h hist.Histogram
		h.Record(int64(time.Millisecond))
		s := new(hist.Snapshot)
		h.AddTo(s)
		return s
	}
	return &telemetry.Snapshot{
		Ready: true, Gateway: "gw-7",
		Started: time.Unix(1_700_000_000, 0), Taken: time.Unix(1_700_000_090, 0),
		Listeners: []telemetry.Listener{{Name: "plant", Port: 8089}},
		Interfaces: []telemetry.Interface{{Name: "eth1", Mode: "zerocopy", State: "up",
			CardTimes: "by /dev/ptp0", CardClock: true, CardClockDoubt: 300,
			Queues: []telemetry.Queue{{Raw: map[string]uint64{"rx_ring_full": 1},
				Drops: map[string]uint64{"ring_full": 1}}},
			Verdicts: []telemetry.Verdict{{Name: "redirected", Count: 1}}}},
		Workers: []telemetry.Worker{{Name: "0"}},
		Sinks: []telemetry.Sink{{Name: "main", URL: "http://127.0.0.1:8086", Up: true,
			Requests: map[string]uint64{"204": 1}, Spool: &dataplane.SpoolerState{}}},
		Tenants:    []telemetry.Tenant{{Name: "line", SeriesLimit: 1}},
		Rules:      []telemetry.Rule{{Name: "Hot", Firing: 1}},
		RuleGroups: []telemetry.RuleGroup{{Name: "motors", Keys: 1}},
		Notifiers: []telemetry.Notifier{{Name: "ops", Type: "log", ByRule: map[string]uint64{"Hot": 1},
			Dropped: map[string]uint64{"refused": 1}, Skipped: map[string]uint64{"known": 1}}},
		Traces:       &telemetry.Traces{Exported: 1},
		Stages:       map[string]*hist.Snapshot{"write": h(), "end_to_end": h()},
		AlertLatency: h(),
	}
}

// measuring is probes that are all on, and have one of everything that has labels.
type measuring struct{}

func (measuring) Status() (all []bpf.ProbeStatus) {
	for _, name := range bpf.ProbeNames() {
		all = append(all, bpf.ProbeStatus{Name: name, On: true})
	}
	return all
}

func (measuring) Read() (*bpf.Measured, error) {
	one := func(what string) map[bpf.InterfaceEvent]uint64 {
		return map[bpf.InterfaceEvent]uint64{{Interface: "eth1", What: what}: 1}
	}
	return &bpf.Measured{
		IOUring: map[uint8]*bpf.Histogram{27: {}}, NAPI: map[string]bpf.NAPICounts{"eth1": {}},
		RedirectErrors: one("ENOBUFS"), XDPExceptions: one("tx"), PacketDrops: one("no_socket"),
	}, nil
}
