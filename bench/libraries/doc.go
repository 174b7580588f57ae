// Package libraries compares Culvert's decoder and rules with the libraries that one would take instead, as
// ordinary Go benchmarks. It is a module of its own, so that nothing else depends on them.
package libraries
