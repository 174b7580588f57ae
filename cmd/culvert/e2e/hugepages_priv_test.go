package e2e

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"culvert/controlplane/doctor"
	"culvert/scripts/testenv"
)

// noHugePages takes all huge pages of 2 MiB away, until the test ends, and returns the files by node that say
// how many there are; nil where the kernel has none of that size.
func noHugePages(t *testing.T) []string {
	t.Helper()
	files, err := filepath.Glob("/sys/devices/system/node/node*/hugepages/hugepages-2048kB/nr_hugepages")
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		before, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		set := func(text string) {
			if err := os.WriteFile(file, []byte(text), 0); err != nil {
				t.Fatal(err)
			}
		}
		t.Cleanup(func() { set(string(before)) })
		set("0")
	}
	return files
}

// Goal: as many huge pages as tune sets aside suffice: a gateway that demands them starts, its frames lie on
// them, and nothing else of it takes any. While it runs neither doctor nor tune asks for more, and what
// revert takes back is gone when the gateway is. Method: no huge page at first.
func TestPrivHugePagesAreForFrames(t *testing.T) {
	need(t)
	files := noHugePages(t)
	if files == nil {
		t.Log("not run: the kernel has no huge pages of 2 MiB by node")
		return
	}
	lab := testenv.NewLab(t, 1)
	sink, state := newRecorder(t, lab), t.TempDir()
	config := write(t, publicDir(t), "culvert.yaml",
		minimal(lab.GatewayInterface, sink.url)+"workers: {huge_pages: on}\n")
	lacks := func(when string, want bool) {
		t.Helper()
		report := diagnose(t, lab, exec.Command(culvert, "doctor", "--json", "-c", config))
		f := wrong(report, "huge_pages", "")
		if (f != nil) != want || want && f.Status != doctor.Fail {
			t.Errorf("%s doctor finds %+v", when, f)
		}
	}
	tune := func(step string, want bool) {
		t.Helper()
		code, output := once(t, lab, "tune", step, "-i", lab.GatewayInterface, "-c", config,
			"--state-dir", state)
		if code != 0 || strings.Contains(output, "nr_hugepages") != want {
			t.Errorf("tune %s: exit code %d:\n%s", step, code, output)
		}
	}
	lacks("without any", true)
	tune("apply", true)
	lacks("after apply", false)
	g := start(t, lab, "run", "-c", config)
	g.ready()
	s, err := g.status()
	if err != nil {
		t.Fatal(err)
	}
	if on := interfaceOf(t, s, lab.GatewayInterface).Queues[0].HugePages; on != "explicit" {
		t.Errorf("frames lie on huge pages: %q", on)
	}
	lacks("while the gateway runs", false)
	tune("apply", false)
	tune("revert", true)
	if code := g.stop(); code != 0 {
		t.Fatalf("exit code %d", code)
	}
	for _, file := range files {
		// The kernel gives up the memory of AF_XDP sockets some time after them.
		eventually(t, "no huge page is left", func() error {
			text, err := os.ReadFile(file)
			if err == nil && strings.TrimSpace(string(text)) != "0" {
				err = fmt.Errorf("%s in %s", text, file)
			}
			return err
		})
	}
}
