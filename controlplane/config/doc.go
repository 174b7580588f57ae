// Package config reads the gateway's one YAML file: the schema as Go types, its defaults, and errors that say
// where in the file something is wrong and what was meant.
//
//	file → YAML tree (with positions) → strict decode over Default() → Validate → *Config
//
// A Config is read once and passed down as narrow values. The package knows the file and nothing else: it
// opens no port, reads no token and asks neither the kernel nor the network.
//
// A key that the schema has and this version does nothing for is accepted at its default only, so that a
// configuration never promises what is not done.
package config

//go:generate go test -count=1 -run ^TestGenerated culvert/controlplane/config -update
