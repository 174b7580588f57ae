package config

import (
	"net/netip"
	"time"
)

// DefaultPath is where commands look for the file unless told otherwise.
const DefaultPath = "/etc/culvert/culvert.yaml"

// The struct tags are the schema:
//
//	yaml     the key
//	enum     the values a text may have
//	later    further values of the schema that this version refuses; "*" is every value but the default
//	required the key has no default
//	min, max bounds of a number or a time, both included
//
// The comments of the fields are the descriptions in schema.json and in docs/configuration.md.

// Config is the whole file. Whoever loaded it owns it; nobody writes to it afterwards.
type Config struct {
	// The gateway as such.
	Gateway Gateway `yaml:"gateway"`
	// The network interfaces to receive on.
	Interfaces []Interface `yaml:"interfaces" required:"true"`
	// UDP ports that take measurements, at most 64.
	Listeners []Listener `yaml:"listeners"`
	// Whose data it is, by sender, at most 256. A sender that matches none belongs to the first.
	Tenants []Tenant `yaml:"tenants"`
	// The pinned threads that do the work, and their memory.
	Workers Workers `yaml:"workers"`
	// Alert rules.
	Rules Rules `yaml:"rules"`
	// Ways out for alerts; a rule's actions name them.
	Notifiers []Notifier `yaml:"notifiers"`
	// Where points are written..
	Sinks []Sink `yaml:"sinks" required:"true"`
	// What waits on disk for a sink.
	Spool Spool `yaml:"spool"`
	// Folder for checkpoints of rule state. The default one is used if it is there; empty: nothing is kept.
	StateDir string `yaml:"state_dir"`
	// What is kept of rejected packets and points.
	Rejects Rejects `yaml:"rejects"`
	// Measurements inside of the kernel.
	Probes Probes `yaml:"probes"`
	// OpenTelemetry traces of batches.
	Traces Traces `yaml:"traces"`
	// The HTTP interface: metrics, health, status.
	HTTP HTTP `yaml:"http"`

	// File is the path that was read.
	File string `yaml:"-"`

	positions positions
}

// Gateway is the gateway as such.
type Gateway struct {
	// The gateway's name in the status and in what it writes. Empty: the host's name.
	ID string `yaml:"id"`
}

// Interface is one network interface.
type Interface struct {
	// The interface's name.
	Name string `yaml:"name" required:"true"`
	// How packets are received: the best that works, or one of these, and less is an error.
	Mode string `yaml:"mode" enum:"auto,zerocopy,native,generic,socket"`
	// The receive queues to serve: all, or a list such as [0, 1] or "0-3".
	Queues Numbers `yaml:"queues"`
	// Several sockets on one queue, each on a CPU of its own, for cards with fewer queues than CPUs: a
	// packet's is chosen by its sender, or in turn, which is for points that carry timestamps.
	QueuesFanout string `yaml:"queues_fanout" enum:"none,flow,packet"`
	// Which UDP checksums are good: auto takes a sum that is not yet final on veth, virtio_net and tun only.
	Checksum string `yaml:"checksum" enum:"auto,verify,off"`
	// The worker takes packets from the card itself instead of by interrupts: off, on, or {budget, usecs}:
	// so many packets and microseconds at a time. For drivers that do it well; it ends where it is useless.
	BusyPoll BusyPoll `yaml:"busy_poll"`
	// Packets go to the kernel's socket when the queue's worker shows no life for this long.
	StallAfter time.Duration `yaml:"stall_after" min:"10ms" max:"1m"`
}

// BusyPoll is the kernel's busy polling: off, on, or {budget, usecs}.
type BusyPoll struct {
	On            bool
	Budget, Usecs int
}

const (
	// BusyPollBudget is how many packets one poll takes at most: NAPI_POLL_WEIGHT, what an interrupt's does.
	BusyPollBudget = 64
	// BusyPollUsecs is how long the kernel may look for packets when the worker asks, in microseconds.
	BusyPollUsecs = 20
)

// Listener is one UDP port that takes measurements.
type Listener struct {
	// The listener's name in metrics, logs and tenants.
	Name string `yaml:"name" required:"true"`
	// The UDP port. Listeners that share one list their addresses, of which none is in both lists.
	Port int `yaml:"port" min:"1" max:"65535"`
	// Destination addresses: the interface's own, or a list. Multicast groups are listed.
	Address Addresses `yaml:"address"`
	// The codec of the packets.
	Protocol string `yaml:"protocol" enum:"lineprotocol"`
	// The unit of the timestamps in the packets.
	Precision string `yaml:"precision" enum:"ns,us,ms,s"`
	// Who may send; others are dropped by the XDP program and counted. Empty: everyone.
	Sources []netip.Prefix `yaml:"sources"`
	// A tag that gets the sender's address. Empty: none. Each sender makes series of its own.
	SourceTag string `yaml:"source_tag"`
	// Tags added to every point.
	Tags map[string]string `yaml:"tags"`
	// Points further in the future are counted and don't move event time.
	MaxAhead time.Duration `yaml:"max_ahead" min:"0s"`
}

// Tenant is one owner of data.
type Tenant struct {
	// The tenant's name.
	Name string `yaml:"name" required:"true"`
	// Its senders; the longest prefix decides. Empty: whoever is in no other tenant's.
	Sources []netip.Prefix `yaml:"sources"`
	// The listeners it may send to, by name. Empty: all.
	Listeners []string `yaml:"listeners"`
	// Bounds of what it may send.
	Limits Limits `yaml:"limits"`
	// The sink of its points, by name. Empty: the only one.
	Sink string `yaml:"sink"`
}

// Limits are a tenant's bounds; 0 is none.
type Limits struct {
	// Packets a second; what is over it is dropped by the XDP program of each interface.
	PacketsPerSecond int `yaml:"packets_per_second" min:"0" max:"1000000000"`
	// Packets a second of each single sender, dropped there too.
	SourcePacketsPerSecond int `yaml:"source_packets_per_second" min:"0" max:"1000000000"`
	// Points a second, over all interfaces.
	PointsPerSecond int `yaml:"points_per_second" min:"0" max:"1000000000"`
	// Distinct series. Those that send nothing for an hour, at most two, are forgotten.
	Series int `yaml:"series" min:"0" max:"10000000"`
	// How many packets, and how many points, may come at once. 0: a second's worth of each.
	Burst int `yaml:"burst" min:"0" max:"1000000000"`
}

// Workers are the pinned threads.
type Workers struct {
	// CPUs to pin them to, such as "2-5,8"; auto leaves one of each node for all else.
	CPUs Numbers `yaml:"cpus"`
	// The NUMA node of CPUs and memory: the card's own, or a number.
	NUMA Node `yaml:"numa"`
	// Huge pages: where there are some, or only with them, or never.
	HugePages string `yaml:"huge_pages" enum:"auto,on,off"`
	// UMEM frames for each queue, a power of two.
	Frames int `yaml:"frames" min:"256" max:"1048576"`
	// Bytes of a frame: 2048 or 4096.
	FrameSize int `yaml:"frame_size" enum:"2048,4096"`
	// Frames taken from a queue in one turn; at most half of frames.
	Batch int `yaml:"batch" min:"1" max:"1024"`
	// What a worker without work does: burn its CPU, spin a while and then sleep, or sleep at once.
	Wait string `yaml:"wait" enum:"busy,adaptive,sleep"`
}

// Rules are the alert rules.
type Rules struct {
	// Rule files, with wildcards; relative paths start at this file's folder.
	Files []string `yaml:"files"`
	// Keys that one rule keeps state for; the longest idle one makes room.
	MaxKeys int `yaml:"max_keys" min:"1" max:"100000000"`
	// How often rule state is saved into state_dir.
	Checkpoint time.Duration `yaml:"checkpoint" min:"1s"`
}

// Notifier is one way out for alerts.
type Notifier struct {
	// The name that rules give in their actions.
	Name string `yaml:"name" required:"true"`
	// What it is: Alertmanagers, a webhook that takes Alertmanager's messages, a datagram for each change by
	// UDP or to a unix socket, a point for each change, or lines in the gateway's log.
	Type string `yaml:"type" required:"true" enum:"alertmanager,webhook,udp,unix,influxdb,log"`
	// Where a webhook is posted to, an Alertmanager is (a list: each of them is told), or a database takes
	// points, such as http://host:8086/write?db=alerts; without it type influxdb writes into the sink.
	URL URLs `yaml:"url"`
	// Where datagrams go: address and port, or the path of a unix socket, where @name is an abstract one.
	Address string `yaml:"address"`
	// What datagrams hold: an object of JSON, or a line of Line Protocol.
	Format string `yaml:"format" enum:"json,line"`
	// How UDP datagrams leave: by the kernel, or at once by the TX ring of the worker that made the alert,
	// if it has one on the interface of their route.
	Via string `yaml:"via" enum:"kernel,xdp"`
	// Notifications of one rule in one second; more wait, and only each alert's newest state is kept. 0: no
	// limit.
	Limit int `yaml:"limit" min:"0" max:"1000000"`
}

// Sink is one database.
type Sink struct {
	// The sink's name in metrics and tenants.
	Name string `yaml:"name" required:"true"`
	// What it is.
	Type string `yaml:"type" enum:"influxdb"`
	// Its addresses: http://host:port or https://host:port, several where several servers share the points
	// or each get all.
	URLs []string `yaml:"urls" required:"true"`
	// The version of its write API. 0: 2 where there is a bucket, else 1.
	Version int `yaml:"version" enum:"0,1,2,3"`
	// The database, for versions 1 and 3.
	Database string `yaml:"database"`
	// The organisation, for version 2.
	Org string `yaml:"org"`
	// The bucket, for version 2.
	Bucket string `yaml:"bucket"`
	// A file that holds the token; version 2 needs one. The token itself never stands in this file.
	TokenFile string `yaml:"token_file"`
	// Certificates for https.
	TLS TLS `yaml:"tls"`
	// Compresses the bodies, beside the workers. Worth it on a slow network only.
	Gzip bool `yaml:"gzip"`
	// Connections of each worker; one where order is series.
	Connections int `yaml:"connections" min:"1" max:"64"`
	// Whether a retry or a replay may overtake a newer write of the same series. With series one request
	// of each worker is under way at a time, and while the spool holds something for a URL all goes there.
	Order string `yaml:"order" enum:"none,series"`
	// What becomes of unsigned integers (42u), which InfluxDB 1.x refuses.
	Uint string `yaml:"uint" enum:"keep,int,float"`
	// How points are shared out among several urls: each series to one of them; likewise, but fewer to those
	// that show load or errors; every point to all of them; or every point to the first that takes points.
	Routing string `yaml:"routing" enum:"hash,load_aware,replicate,failover"`
	// What becomes of what waits for a URL that is not in urls any more: it goes to those that own its series
	// now (with failover to the first; with replicate, where the others have it, it stays); or is still
	// delivered to that URL, which gets nothing new; or stays until the URL is there again.
	OnRemove string `yaml:"on_remove" enum:"rehash,drain,keep"`
	// When a batch is full or old enough.
	Batch Batch `yaml:"batch"`
	// A request that takes longer failed.
	Timeout time.Duration `yaml:"timeout" min:"10ms" max:"10m"`
	// How often and when a failed request is made again.
	Retry Retry `yaml:"retry"`
	// A point that is older than this by its own timestamp, when it comes or when it is to be delivered from
	// the spool, is dropped. 0: never.
	TTL time.Duration `yaml:"ttl" min:"0s"`
}

// TLS names the files of https.
type TLS struct {
	// Certificates to trust instead of the system's.
	CAFile string `yaml:"ca_file"`
	// The gateway's own certificate.
	CertFile string `yaml:"cert_file"`
	// Its key.
	KeyFile string `yaml:"key_file"`
}

// Batch says when a batch is sealed.
type Batch struct {
	// Bytes it holds at most.
	Bytes Size `yaml:"bytes" min:"16KiB" max:"64MiB"`
	// Points it holds at most.
	Points int `yaml:"points" min:"1" max:"1000000"`
	// Age of its first point at which it is sealed while a connection is idle. A lone point does not wait.
	// One that has 16 points by then grows until it is five times as old, at most 1 ms.
	Linger time.Duration `yaml:"linger" min:"0s" max:"10s"`
	// Age at which it is sealed in any case.
	Age time.Duration `yaml:"age" min:"1us" max:"1m"`
}

// Retry says how often and when a failed request is made again.
type Retry struct {
	// Attempts in all; after them the batch is dropped as undelivered.
	Attempts int `yaml:"attempts" min:"1" max:"1000"`
	// The wait after the first failure; each further one is twice as long.
	First time.Duration `yaml:"first" min:"1ms" max:"1m"`
	// The longest wait.
	Max time.Duration `yaml:"max" min:"1ms" max:"1h"`
	// How much a wait varies either way, so that gateways don't come back all at once.
	Jitter Percent `yaml:"jitter"`
}

// Spool is what waits on disk.
type Spool struct {
	// Its folder, with one in it for each URL. It is made; the default one only where /var/lib/culvert is,
	// which packages bring. Empty: nothing is kept on disk, and what cannot be delivered in time is dropped.
	Dir string `yaml:"dir"`
	// When batches go to disk: those that a sink does not take now, or each before it is sent, so that a
	// gateway that is killed loses only what it had not sealed yet.
	Mode string `yaml:"mode" enum:"on_failure,always"`
	// Size of one file.
	Segment Size `yaml:"segment" min:"1MiB" max:"4GiB"`
	// Size of all files. Each URL has an equal share, at least two segments.
	Max Size `yaml:"max" min:"2MiB"`
	// How often what was written is forced to disk: what a loss of power can cost.
	Sync time.Duration `yaml:"sync" min:"1ms" max:"1m"`
	// Compression of the records.
	Compression string `yaml:"compression" enum:"none,snappy,zstd"`
	// What gives way when it is full: the oldest segment, or what comes.
	WhenFull string `yaml:"when_full" enum:"drop_oldest,drop_newest"`
}

// Rejects is what is kept of rejected packets and points.
type Rejects struct {
	// How many are kept in memory.
	Keep int `yaml:"keep" min:"1" max:"100000"`
	// A folder to keep those in that a database refused, whole, as lines of JSON; at most 128 MiB. Empty:
	// none.
	Dir string `yaml:"dir"`
}

// Probes are the measurements inside of the kernel.
type Probes struct {
	// Whether they are attached. One that the kernel or a missing privilege refuses is left out and logged.
	Enabled bool `yaml:"enabled"`
	// Names of probes that are not; docs/metrics.md lists them.
	Except []string `yaml:"except"`
}

// Traces are OpenTelemetry traces of batches.
type Traces struct {
	// Where they go.
	Exporter string `yaml:"exporter" enum:"off,otlp,file"`
	// The collector's URL, or a file. OTLP goes over HTTP to a URL with a path, such as
	// http://127.0.0.1:4318/v1/traces, or with port 4318, and over gRPC to any other. Empty:
	// http://127.0.0.1:4317, or traces.json. Headers, compression and the authorities that https trusts are
	// taken of the environment: OTEL_EXPORTER_OTLP_HEADERS, _COMPRESSION, _CERTIFICATE.
	Endpoint string `yaml:"endpoint"`
	// One batch in so many is traced.
	OneIn int `yaml:"one_in" min:"1"`
}

// HTTP is the HTTP interface.
type HTTP struct {
	// Its address and port.
	Listen string `yaml:"listen"`
	// A file with the token that changes, such as a reload, need. Without one they are taken only where
	// listen is an address of this host alone.
	TokenFile string `yaml:"token_file"`
}

// API is the write API's version: as configured, or by the keys that are there.
func (s *Sink) API() int {
	if s.Version != 0 {
		return s.Version
	}
	if s.Bucket != "" || s.Org != "" {
		return 2
	}
	return 1
}
