package numa

import (
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strings"
	"testing"
)

func TestPin(t *testing.T) {
	allowed, err := Allowed()
	if err != nil {
		t.Fatal(err)
	}
	for _, cpu := range allowed {
		done := make(chan error)
		go func() {
			// Never unlocked: the pinned thread ends with this goroutine.
			runtime.LockOSThread()
			err := Pin(cpu)
			if got, e := Allowed(); err == nil && (e != nil || !slices.Equal(got, []int{cpu})) {
				t.Errorf("pinned to CPU %d, allowed %v, %v", cpu, got, e)
			}
			done <- err
		}()
		if err := <-done; err != nil {
			t.Fatal(err)
		}
	}
	if now, err := Allowed(); err != nil || !slices.Equal(now, allowed) {
		t.Fatalf("the test's own thread was pinned: %v, %v", now, err)
	}
}

func TestPinFailure(t *testing.T) {
	f := func(cpu int, want string) {
		t.Helper()
		for range 2 {
			if err := Pin(cpu); err == nil || !strings.Contains(err.Error(), want) {
				t.Fatalf("Pin(%d): %v, want %q", cpu, err, want)
			}
		}
	}
	f(cpusMax-1, "offline or outside of this process's cpuset")
	f(cpusMax, "is not in 0-8191")
	f(-1, "is not in 0-8191")
}

// Goal: every thread of a process is confined, those of later goroutines too, and a worker may be pinned
// outside afterwards. Method: in a process of its own, since the test's threads would stay confined.
func TestConfine(t *testing.T) {
	if os.Getenv("CULVERT_TEST_CONFINE") == "1" {
		confined(t)
		return
	}
	command := exec.Command(os.Args[0], "-test.run=^TestConfine$", "-test.v")
	command.Env = append(os.Environ(), "CULVERT_TEST_CONFINE=1")
	if output, err := command.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, output)
	}
}

func confined(t *testing.T) {
	allowed, err := Allowed()
	if err != nil {
		t.Fatal(err)
	}
	// Threads that exist before, and goroutines that keep starting new ones meanwhile.
	stop := make(chan struct{})
	for range 4 {
		go func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				ended := make(chan struct{})
				go func() {
					runtime.LockOSThread() // Not unlocked: each round makes and ends a thread.
					close(ended)
				}()
				<-ended
			}
		}()
	}
	if err := Confine(allowed[:1]); err != nil {
		t.Fatal(err)
	}
	close(stop)
	tasks, err := os.ReadDir("/proc/self/task")
	if err != nil {
		t.Fatal(err)
	}
	for _, task := range tasks {
		status, err := os.ReadFile("/proc/self/task/" + task.Name() + "/status")
		if err != nil {
			continue // It has ended.
		}
		_, rest, _ := strings.Cut(string(status), "Cpus_allowed_list:")
		list, _, _ := strings.Cut(rest, "\n")
		if got := strings.TrimSpace(list); got != FormatList(allowed[:1]) {
			t.Errorf("thread %s may run on %s", task.Name(), got)
		}
	}
	done := make(chan error)
	go func() {
		runtime.LockOSThread()
		done <- Pin(allowed[len(allowed)-1])
	}()
	if err := <-done; err != nil {
		t.Error(err)
	}
	if err := Confine(nil); err == nil {
		t.Error("an empty list is accepted")
	}
	if err := Confine([]int{allowed[0], cpusMax - 1}); err == nil ||
		!strings.Contains(err.Error(), "offline or outside") {
		t.Errorf("a CPU that does not exist: %v", err)
	}
}
