package config

import "time"

// Default is the configuration of an empty file, interfaces and sinks excepted, which have no default. Load
// decodes the file over it.
func Default() *Config {
	return &Config{
		Workers: Workers{
			NUMA: NodeLocal, HugePages: "auto", Frames: 8192, FrameSize: 2048, Batch: 64, Wait: "adaptive",
		},
		Rules:    Rules{MaxKeys: 100_000, Checkpoint: 10 * time.Second},
		StateDir: "/var/lib/culvert/state",
		Spool: Spool{
			Dir: "/var/lib/culvert/spool", Mode: "on_failure", Segment: 128 << 20, Max: 10 << 30,
			Sync: 100 * time.Millisecond, Compression: "snappy", WhenFull: "drop_oldest",
		},
		Rejects: Rejects{Keep: 1000},
		Probes:  Probes{Enabled: true},
		Traces:  Traces{Exporter: "off", OneIn: 1000},
		HTTP:    HTTP{Listen: "127.0.0.1:9490"},
	}
}

// An element of a list starts from its type's defaults, wherever the list stands.

func (i *Interface) setDefaults() {
	*i = Interface{Mode: "auto", QueuesFanout: "none", Checksum: "auto", StallAfter: time.Second}
}

func (l *Listener) setDefaults() {
	*l = Listener{Port: 8089, Protocol: "lineprotocol", Precision: "ns", MaxAhead: time.Minute}
}

func (n *Notifier) setDefaults() {
	*n = Notifier{Format: "json", Via: "kernel", Limit: 1000}
}

func (s *Sink) setDefaults() {
	*s = Sink{
		Type: "influxdb", Connections: 2, Order: "none", Uint: "keep", Routing: "hash", OnRemove: "rehash",
		Batch: Batch{
			Bytes: 1 << 20, Points: 10_000, Linger: 200 * time.Microsecond, Age: 5 * time.Millisecond,
		},
		Timeout: 5 * time.Second,
		Retry: Retry{
			Attempts: 3, First: 100 * time.Millisecond, Max: 5 * time.Second, Jitter: 0.10,
		},
	}
}

// defaulted is a list element with defaults of its own.
type defaulted interface{ setDefaults() }

// complete adds what depends on other keys: a listener where none is configured, and the one tenant of a
// gateway without tenants.
func (c *Config) complete(hostname func() (string, error)) error {
	if len(c.Listeners) == 0 {
		var l Listener
		l.setDefaults()
		l.Name = "default"
		c.Listeners = []Listener{l}
	}
	if len(c.Tenants) == 0 {
		c.Tenants = []Tenant{{Name: "default"}}
	}
	for i := range c.Tenants {
		if c.Tenants[i].Sink == "" && len(c.Sinks) > 0 {
			c.Tenants[i].Sink = c.Sinks[0].Name
		}
	}
	if c.Gateway.ID != "" {
		return nil
	}
	name, err := hostname()
	c.Gateway.ID = name
	return err
}
