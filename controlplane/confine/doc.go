// Package confine takes from the running process what it does not need: capabilities, the way to new ones,
// system calls, files. What it took is told in Confinement, for `culvert status`.
//
//	Drop     before anything is opened: capabilities, no new privileges
//	Enclose  when everything is up: files (Landlock), system calls (seccomp)
//
// Both change all threads of the process, those too that come later, and cannot be undone. Neither starts
// nor needs another program.
package confine
