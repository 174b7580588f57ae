package attach

import (
	"bufio"
	"os"
	"os/exec"
	"testing"

	"culvert/scripts/testenv"
)

// The child process of the test below is this test binary with these in its environment.
const (
	childInterface = "CULVERT_TEST_CHILD_INTERFACE"
	childPins      = "CULVERT_TEST_CHILD_PINS"
)

// TestPrivKilledChild is the gateway that gets killed: it attaches, switches steering on, says so and waits.
func TestPrivKilledChild(t *testing.T) {
	name := os.Getenv(childInterface)
	if name == "" {
		return // Only as a child of the test below.
	}
	a, err := Open(Options{Interface: name, PinDir: os.Getenv(childPins)})
	if err == nil {
		err = a.Steer().SetListeners(listenersOn(a.Addresses()))
	}
	if err == nil {
		err = a.Steer().SetRedirect(true)
	}
	if err != nil {
		t.Fatal(err)
	}
	os.Stderr.WriteString("attached\n")
	select {}
}

// killGateway starts a gateway in the lab and kills it once it is attached.
func killGateway(t *testing.T, lab *testenv.Lab, pins string) {
	t.Helper()
	// A process inherits the namespace of the thread that starts it.
	within(t, lab.Gateway, func() error {
		child := exec.Command(os.Args[0], "-test.run=^TestPrivKilledChild$")
		child.Env = append(os.Environ(), childInterface+"="+lab.GatewayInterface, childPins+"="+pins)
		says, err := child.StderrPipe()
		if err != nil {
			return err
		}
		if err := child.Start(); err != nil {
			return err
		}
		line, readErr := bufio.NewReader(says).ReadString('\n')
		if line != "attached\n" {
			t.Errorf("the child said %q, %v", line, readErr)
		}
		killErr := child.Process.Kill()
		_ = child.Wait() // It ends by the signal.
		return killErr
	})
}

// Goal: after kill -9 nothing is left without a pin; with one, the link is, its packets pass to the kernel
// although steering was on, and the next start adopts it.
func TestPrivKilled(t *testing.T) {
	lab, pins := testenv.NewLab(t, 1), pinDir(t)
	o := Options{Interface: lab.GatewayInterface, PinDir: pins}
	killGateway(t, lab, pins)
	if on := attachedProgram(t, lab); on.id != 0 {
		t.Errorf("program %d is left", on.id)
	}
	within(t, lab.Gateway, func() error {
		_, err := Pin(o)
		return err
	})
	killGateway(t, lab, pins)
	if on := attachedProgram(t, lab); on.id == 0 {
		t.Error("the pinned link is gone")
	}
	exchange(t, lab)
	within(t, lab.Gateway, func() error {
		a, err := Open(o)
		if err != nil {
			return err
		}
		if !a.Adopted() {
			t.Error("the link was not adopted")
		}
		return a.Close()
	})
	if removed, err := UnpinAll(pins); err != nil || len(removed) != 1 {
		t.Errorf("removed %v, %v", removed, err)
	}
}
