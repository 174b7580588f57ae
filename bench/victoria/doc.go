// Package victoria names vmagent and VictoriaMetrics as tools, so that the benchmark can build them at the
// version of this module's go.mod, beside the distribution's older ones. It has no code of its own.
package victoria
