package dataplane

import (
	"testing"
	"time"

	"culvert/dataplane/rules"
)

// Goal: whoever looks at a worker costs it no allocation, whatever there is to see. Method: a worker with
// rules that has had an answer of each kind and has samples of series; its own thread counts.
func TestLookAllocatesNothing(t *testing.T) {
	server := newLineServer(t)
	config := workerConfig(t, server.server.URL, true)
	config.Rules = rulesOf(t, "Hot", "v > 1")
	config.RuleState = rules.Config{Workers: 1, Owners: 1, KeysMax: 100}
	w, err := Start(config)
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	if err := w.Do(func() error {
		for range 1000 {
			packet, metadata := frame("m,k=a v=1 1\nm,k=b v=2 2", w.clock.Now())
			var payload Payload
			openFrame(&payload, packet, metadata, ChecksumVerify, &w.counters)
			w.eat(&payload, false)
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	if err := w.Drain(10 * time.Second); err != nil {
		t.Fatal(err)
	}
	look := newLook(len(w.urls), config.Rules)
	allocations, err := ask(w, func() float64 {
		return testing.AllocsPerRun(100, func() { w.fill(look, config.Rules) })
	})
	if err != nil || allocations != 0 {
		t.Errorf("%v allocations by the worker for one look, %v", allocations, err)
	}
	got, err := w.Look(config.Rules, askTime)
	if err != nil || len(got.Sinks) != 1 || got.Sinks[0].Transport != "sockets" ||
		got.Sinks[0].Stats.Requests["204"] == 0 || len(got.Heavy) != 2 || got.HeavySamples == 0 ||
		got.Rules.Set != config.Rules || len(got.Rules.Rules) != 1 || got.Rules.Rules[0].Firing != 1 {
		t.Fatalf("%v: %+v, %+v, %+v of %d samples", err, got.Sinks, got.Rules, got.Heavy, got.HeavySamples)
	}
	// Rules that are not the worker's any more are told apart, not mixed up.
	if got, err = w.Look(rulesOf(t, "Hot", "v > 2"), askTime); err != nil || got.Rules.Set != nil {
		t.Errorf("%v: %+v", err, got.Rules)
	}
}
