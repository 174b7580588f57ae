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
