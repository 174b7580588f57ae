package attach

import (
	"strings"
	"testing"
)

// Goal: each interface has a folder of its own, without dots, and is found again by it.
func TestFolderOf(t *testing.T) {
	seen := map[string]string{}
	for _, name := range []string{"eth1", "eth1.7", "eth1%2E7", "eth1%7", "eth1%257", "a.b", "%", "br-0"} {
		folder := folderOf(name)
		if strings.Contains(folder, ".") || interfaceOf(folder) != name || seen[folder] != "" {
			t.Errorf("the folder of %q is %q, which is %q's and was %q's", name, folder, interfaceOf(folder),
				seen[folder])
		}
		seen[folder] = name
	}
	if folderOf("eth1") != "eth1" {
		t.Error("the folder of a plain name has changed: pins that are there are not found")
	}
}
