package influx

import "fmt"

// poison fills free batches where the tag verify is set. No line begins with it.
const poison = 0xDB

// Pool is the batches of one worker. Their number and size never change.
type Pool struct {
	memory  []byte
	batches []Batch
	unused  []*Batch // a stack: the batch that was free last is warm in the cache
	held    int
}

// NewPool cuts memory into batches of batchBytes. The memory lies outside of the Go heap and stays the
// caller's; it is in use until the writer and the ring are closed.
func NewPool(memory []byte, batchBytes int) (*Pool, error) {
	if batchBytes < 1 || len(memory) < batchBytes {
		return nil, fmt.Errorf("cut %d bytes into batches of %d: not even one fits", len(memory), batchBytes)
	}
	n := len(memory) / batchBytes
	p := &Pool{memory: memory, batches: make([]Batch, n), unused: make([]*Batch, 0, n)}
	for i := range p.batches {
		b := &p.batches[n-1-i]
		at := (n - 1 - i) * batchBytes
		*b = Batch{pool: p, memory: memory[at : at+batchBytes : at+batchBytes], runs: make([]Run, 0, runsMax)}
		p.push(b)
	}
	return p, nil
}

// Take opens a free batch, or returns nil when there is none.
func (p *Pool) Take() *Batch {
	n := len(p.unused)
	if n == 0 {
		return nil
	}
	b := p.unused[n-1]
	p.unused = p.unused[:n-1]
	if verify {
		for i, c := range b.memory {
			if c != poison {
				panic(fmt.Sprintf("BUG: a free batch was written to: byte %d is %#x", i, c))
			}
		}
	}
	b.move(stateFree, stateOpen)
	b.used, b.points, b.opened, b.sealedAt, b.Mark, b.Owner = 0, 0, 0, 0, 0, 0
	b.runs, b.sections, b.trace = b.runs[:0], b.sections[:0], nil
	return b
}

// Release ends a batch: its points no longer count as held. It must not be used afterwards. It is free at
// once, or as soon as the kernel has let go of its bytes.
func (p *Pool) Release(b *Batch) {
	if b.state != stateSettled && b.state != stateOpen && b.state != stateSealed {
		panic(fmt.Sprintf("BUG: release a batch that is %s", b.state))
	}
	p.held -= b.points
	b.state = stateHeld
	if b.refs == 0 {
		p.free(b)
	}
}

func (p *Pool) free(b *Batch) {
	b.move(stateHeld, stateFree)
	p.push(b)
}

func (p *Pool) push(b *Batch) {
	if verify {
		for i := range b.memory {
			b.memory[i] = poison
		}
	}
	p.unused = append(p.unused, b)
}

// Held is how many points are in batches that were taken and not yet released.
func (p *Pool) Held() int { return p.held }

// Free is how many batches can be taken.
func (p *Pool) Free() int { return len(p.unused) }

// Size is how many batches there are.
func (p *Pool) Size() int { return len(p.batches) }
