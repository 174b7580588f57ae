package fakesink

import (
	"compress/gzip"
	"fmt"
	"maps"
	"math/rand/v2"
	"net/http"
	"sync"
	"time"

	"culvert/dataplane/lineproto"
	"culvert/dataplane/point"
)

// Config says how the sink behaves.
type Config struct {
	// CountOnly counts lines without looking at them: for benchmarks of what is in front of the sink.
	CountOnly bool
	// Sequence follows the sequence numbers of `culvert load --sequence`.
	Sequence bool
	// Delay is how long every write waits for its answer.
	Delay time.Duration
	// Faults (optional) are how writes fail; their shares add up to 1 at most.
	Faults []Fault
	// Seed decides which writes fail.
	Seed uint64
	// BodyMax (optional) is the longest body taken, in bytes, after decompression; 0: InfluxDB's 25 000 000.
	BodyMax int
}

const bodyMaxDefault = 25_000_000

// Figures are what a sink, or one of its databases, was given.
type Figures struct {
	Requests uint64 `json:"requests"` // writes, whatever became of them
	Points   uint64 `json:"points"`   // lines taken
	Rejected uint64 `json:"rejected"` // lines refused
	Failed   uint64 `json:"failed"`   // writes failed on demand; their lines count nowhere
	Refused  uint64 `json:"refused"`  // writes refused whole, for what they are
	Bytes    uint64 `json:"bytes"`    // of all bodies that were read, after decompression
}

func (f *Figures) add(other Figures) {
	f.Requests += other.Requests
	f.Points += other.Points
	f.Rejected += other.Rejected
	f.Failed += other.Failed
	f.Refused += other.Refused
	f.Bytes += other.Bytes
}

// Stats is the document of GET /stats.
type Stats struct {
	Figures
	Databases map[string]Figures `json:"databases"`
	Sequences *Sequences         `json:"sequences,omitempty"` // nil unless they are followed
}

// Sink is the endpoint: an http.Handler that any number of connections may use at once.
type Sink struct {
	config Config
	mux    *http.ServeMux
	desks  sync.Pool // *desk
	// sequences is nil unless they are followed.
	sequences *sequences

	mutex     sync.Mutex // guards what follows; taken twice a request
	random    rand.PCG
	total     Figures
	databases map[string]Figures
}

// desk is what reading one body needs. It is used by one request at a time and keeps its memory.
type desk struct {
	body    []byte
	decoder lineproto.Decoder
	point   point.Point
	inflate gzip.Reader
}

// New makes a sink.
func New(config Config) (*Sink, error) {
	share := 0.0
	for _, fault := range config.Faults {
		if !(fault.Share >= 0) {
			return nil, fmt.Errorf("check faults: share %v, want 0 to 1", fault.Share)
		}
		share += fault.Share
	}
	// The last decimal place of a sum of shares is nobody's intention.
	if share > 1+1e-9 {
		return nil, fmt.Errorf("check faults: their shares add up to %.3g, want 1 at most", share)
	}
	if config.BodyMax == 0 {
		config.BodyMax = bodyMaxDefault
	}
	s := &Sink{
		config: config, mux: http.NewServeMux(), random: *rand.NewPCG(config.Seed, 1),
		databases: map[string]Figures{},
	}
	if config.Sequence {
		s.sequences = &sequences{flows: make([]*track, flowsMax)}
	}
	s.desks.New = func() any { return new(desk) }
	s.mux.HandleFunc("POST /write", s.serveWrite(v1{}))
	s.mux.HandleFunc("POST /api/v2/write", s.serveWrite(v2{}))
	s.mux.HandleFunc("POST /api/v3/write_lp", s.serveWrite(v3{}))
	s.mux.HandleFunc("GET /ping", servePing)
	s.mux.HandleFunc("GET /health", serveHealth)
	s.mux.HandleFunc("GET /query", s.serveQuery)
	s.mux.HandleFunc("POST /query", s.serveQuery)
	s.mux.HandleFunc("GET /stats", s.serveStats)
	return s, nil
}

// ServeHTTP answers one request.
func (s *Sink) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("X-Influxdb-Version", "1.8.10-culvert-sink")
	w.Header().Set("X-Influxdb-Build", "culvert")
	s.mux.ServeHTTP(w, r)
}

// Stats is what came so far.
func (s *Sink) Stats() Stats {
	s.mutex.Lock()
	stats := Stats{Figures: s.total, Databases: maps.Clone(s.databases)}
	s.mutex.Unlock()
	if s.sequences != nil {
		stats.Sequences = s.sequences.figures()
	}
	return stats
}

// note adds one request's figures to the sum and to its database's. Requests that name none count in the sum.
func (s *Sink) note(database string, figures Figures) {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	s.total.add(figures)
	if database != "" {
		sum := s.databases[database]
		sum.add(figures)
		s.databases[database] = sum
	}
}

// create makes a database known, without anything in it.
func (s *Sink) create(database string) {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	if _, known := s.databases[database]; !known {
		s.databases[database] = Figures{}
	}
}
