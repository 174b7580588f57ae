// Package tune puts a host right for a gateway, and back.
//
//	doctor.Host ─▶ Plan ─▶ Changes ─▶ Apply ─▶ the host
//	                                   │  ▲
//	                          before   ▼  │ Revert
//	                               journal, on disk
//
// Each setting's value is written down, and is on disk, before it is changed: after a crash at any point
// Revert finds all that was begun. It restores what is still as it was set, and leaves alone, by name, what
// somebody else has changed since. No change outlives a reboot, so a journal of another boot is void.
package tune
