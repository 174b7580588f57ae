package dataplane

import "testing"

// Goal: a batch whose time has come grows on while turns are full, up to growBytes, and no longer. Method: a
// worker that does not run; its connection is never there, so that age seals.
func TestBatchesGrowInABacklog(t *testing.T) {
	w := openWorker(t, nil)
	payload := Payload{Bytes: []byte("m v=1 1\n"), Arrival: 1}
	w.eat(&payload, false)
	w.fullTurn = true
	w.deliver()
	if w.counters.BatchesSealed != 0 {
		t.Fatal("a batch was sealed in a backlog")
	}
	w.fullTurn = false
	w.deliver()
	if w.counters.BatchesSealed != 1 {
		t.Fatal("a batch is not sealed once the backlog is over")
	}
	w.fullTurn = true
	for w.lanes[0].open == nil || w.lanes[0].open.Bytes() < growBytes {
		w.eat(&payload, false)
	}
	if w.counters.BatchesSealed != 1 {
		t.Fatal("a batch was sealed before it was long enough")
	}
	w.closeSinks(2) // Nothing waits for a connection any more: only age decides.
	w.eat(&payload, false)
	for w.lanes[0].open.Bytes() < growBytes {
		w.eat(&payload, false)
	}
	w.deliver()
	if w.counters.BatchesSealed != 3 {
		t.Fatalf("%d batches sealed, want 3", w.counters.BatchesSealed)
	}
}

// Goal: while a spooler stands still, as with a disk that takes long for an fsync, what it has not read
// leaves room for many points more. Method: a worker whose server is away, and a port that nobody reads;
// points come slowly, so that age would seal a batch for each.
func TestBatchesGrowWhileTheSpoolStands(t *testing.T) {
	config := workerConfig(t, "http://127.0.0.1:9", true)
	sink := &config.Sinks[0]
	port := NewSpoolPort(config.Exchange, 0, sink.Batches)
	port.spooler = new(Waker)
	sink.Spools, sink.BatchPoints, sink.Age = []*SpoolPort{port}, 100, 1
	w := openWith(t, config)
	o := w.lanes[0]
	o.writer.Shut(1) // all that comes is set aside at once
	size := uint64(o.pool.Size())
	payload := Payload{Bytes: []byte("m v=1 1\n"), Arrival: 1}
	for range 100 * size / 2 {
		w.eat(&payload, false)
		w.deliver()
	}
	spooled := w.counters.PointsSpooled
	for item := port.items.Peek(); item != nil; item = port.items.Peek() { // so that the worker can end
		port.backs.Push(&spoolBack{kind: item.kind, batch: item.batch})
		port.items.Release()
	}
	if n := w.counters.PointsDropped[DropOverload]; n != 0 || spooled == 0 {
		t.Fatalf("%d points dropped with room for %d, %d spooled", n, 100*size, spooled)
	}
}
