package gateway

import (
	"path/filepath"
	"slices"
	"strings"

	"culvert/controlplane/attach"
	"culvert/controlplane/config"
	"culvert/controlplane/confine"
)

// systemFiles are what is read of the host at any time: the kernel's own, names and certificates of other
// hosts, time zones, systemd's credentials. /etc as a whole, because its files are replaced by others of the
// same name, which a right on the file would not follow.
func systemFiles() []string {
	return []string{
		"/proc", "/sys", "/etc", "/usr/share/ca-certificates", "/usr/local/share/ca-certificates",
		"/usr/share/zoneinfo", "/run/systemd/resolve", "/run/resolvconf", "/run/NetworkManager",
		"/run/credentials",
	}
}

// Files are the files that a gateway of this configuration uses once it runs, after reloads, too: of each
// file that is read the folder, so that it may be replaced.
func Files(c *config.Config) confine.Files {
	files := confine.Files{Read: append(systemFiles(), clockFiles()...), Write: attach.PinDirs()}
	read := func(paths ...string) {
		for _, path := range paths {
			if path != "" {
				files.Read = append(files.Read, filepath.Dir(path))
			}
		}
	}
	read(c.File, c.HTTP.TokenFile)
	for _, pattern := range c.Rules.Files {
		read(beforePattern(pattern))
	}
	for i := range c.Sinks {
		s := &c.Sinks[i]
		read(s.TokenFile, s.TLS.CAFile, s.TLS.CertFile, s.TLS.KeyFile)
	}
	write := []string{c.StateDir, c.Spool.Dir, c.Rejects.Dir}
	if c.Traces.Exporter == "file" {
		write = append(write, filepath.Dir(c.Traces.Endpoint))
	}
	none := func(path string) bool { return path == "" }
	files.Write = append(files.Write, slices.DeleteFunc(write, none)...)
	return files
}

// clockFiles are the clocks of this host's cards.
func clockFiles() []string {
	// The pattern is right, which is the only error there can be.
	found, _ := filepath.Glob("/dev/ptp[0-9]*")
	return found
}

// beforePattern is a pattern of paths up to the first part with a wildcard, that part included.
func beforePattern(pattern string) string {
	if wild := strings.IndexAny(pattern, `*?[\`); wild >= 0 {
		rest := pattern[wild:]
		if slash := strings.IndexByte(rest, '/'); slash >= 0 {
			return pattern[:wild+slash]
		}
	}
	return pattern
}
