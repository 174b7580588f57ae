// Package rules is the rule language: it reads alert rules, compiles them, evaluates them on points while
// those still lie in the receive memory, and keeps the state of every key.
//
//	Compile:    text ─lex─▶ tokens ─parse─▶ tree ─check, fold─▶ tree ─emit─▶ instructions   (→ Set)
//	Evaluator:  point ─measurement─▶ plan ─names─▶ slots ─run─▶ result ─key─▶ record ─▶ Handover, Transition
//	            point ─cohort, key─▶ memos, windows ─run─▶ …          memos ─watermark─▶ Derived
//	            time  ─wheel─▶ what points began: for, absent, stale, records
//
// A Set is immutable and shared by all workers. An Evaluator belongs to one worker and to its thread; what
// evaluators tell each other travels as Handover values through rings that the workers own. The package reads
// no files, sends nothing and starts nothing: rule files are read by controlplane/rulefile, alerts leave by
// the control plane.
//
// handover.go describes how one key whose points arrive at several workers has one state, life.go the phases
// of an alert, window.go how the past is kept, lateness.go when it counts as complete, checkpoint.go how
// state outlives an evaluator.
package rules
