package nic

import (
	"errors"
	"os/exec"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"culvert/scripts/testenv"
)

// Goal: what is read is what ethtool reads, and what is set is what ethtool then reads. Method: a veth pair,
// whose driver knows channels and features, and no rings.
func TestPrivEthtool(t *testing.T) {
	testenv.Need(t, unix.CAP_NET_ADMIN, unix.CAP_SYS_ADMIN)
	if _, err := exec.LookPath("ethtool"); err != nil {
		testenv.Skip(t, "ethtool is missing (scripts/setup test)")
	}
	lab := testenv.NewLab(t, 4)
	name := lab.GatewayInterface
	err := lab.Gateway.Do(func() error {
		channels, err := AskChannels(name)
		if err != nil {
			return err
		}
		if channels.Receive() != 4 || channels.ReceiveMax() != 4 {
			t.Errorf("channels %+v, want 4 of 4", channels)
		}
		if err := SetChannels(name, Channels{RX: 2}); err != nil {
			return err
		}
		if now, err := AskChannels(name); err != nil || now.RX != 2 || now.TX != channels.TX {
			t.Errorf("after setting 2: %+v, %v", now, err)
		}
		if err := SetChannels(name, Channels{RX: 9}); !errors.Is(err, unix.EINVAL) {
			t.Errorf("9 of 4 channels: %v", err)
		}
		if _, err := AskRings(name); !errors.Is(err, ErrNotOffered) {
			t.Errorf("rings of a veth: %v", err)
		}
		if _, err := AskChannels("absent0"); !errors.Is(err, unix.ENODEV) {
			t.Errorf("channels of no interface: %v", err)
		}
		notOffered(t, name)
		return features(t, name)
	})
	if err != nil {
		t.Fatal(err)
	}
}

// notOffered checks that what a driver lacks is told as such.
func notOffered(t *testing.T, name string) {
	t.Helper()
	rule := Rule{Flow: UDP4, Port: 8089, Queue: 1}
	for what, ask := range map[string]func() error{
		"a hash":        func() error { _, err := AskHash(name, UDP4); return err },
		"another hash":  func() error { return SetHash(name, UDP4, hashAll) },
		"a table":       func() error { _, err := AskIndirection(name); return err },
		"another table": func() error { return SetIndirection(name, InTurn([]int{0}, 128)) },
		"rules":         func() error { _, err := AskRules(name); return err },
		"one rule more": func() error { return InsertRule(name, 1, rule) },
		"one rule less": func() error { return DeleteRule(name, 1) },
	} {
		if err := ask(); !errors.Is(err, ErrNotOffered) {
			t.Errorf("%s of a veth: %v", what, err)
		}
	}
	if _, err := AskHash("absent0", UDP4); !errors.Is(err, unix.ENODEV) {
		t.Errorf("a hash of no interface: %v", err)
	}
}

func features(t *testing.T, name string) error {
	list, err := AskFeatures(name)
	if err != nil {
		return err
	}
	compare := func(list map[string]Feature) {
		t.Helper()
		output, err := exec.Command("ethtool", "-k", name).Output()
		if err != nil {
			t.Fatal(err)
		}
		for _, known := range []string{"rx-gro", "rx-vlan-hw-parse", "rx-udp-gro-forwarding", "rx-lro"} {
			// The program has older names for some.
			alias := map[string]string{
				"rx-gro": "generic-receive-offload", "rx-vlan-hw-parse": "rx-vlan-offload",
				"rx-lro": "large-receive-offload",
			}[known]
			if alias == "" {
				alias = known
			}
			_, rest, found := strings.Cut(string(output), alias+": ")
			line, _, _ := strings.Cut(rest, "\n")
			want := Feature{Active: strings.HasPrefix(line, "on"), Fixed: strings.Contains(line, "[fixed]")}
			got, offered := list[known]
			got.Fixed = got.Fixed || !offered
			if !found || got.Active != want.Active || got.Fixed != want.Fixed {
				t.Errorf("%s is %+v, ethtool says %q", known, got, line)
			}
		}
	}
	compare(list)
	for _, on := range []bool{!list["rx-vlan-hw-parse"].Active, list["rx-vlan-hw-parse"].Active} {
		if err := SetFeatures(name, map[string]bool{"rx-vlan-hw-parse": on}); err != nil {
			return err
		}
		changed, err := AskFeatures(name)
		if err != nil {
			return err
		}
		if changed["rx-vlan-hw-parse"].Active != on {
			t.Errorf("rx-vlan-hw-parse is not %t after it was set so", on)
		}
		compare(changed)
	}
	if err := SetFeatures(name, map[string]bool{"rx-lro": true}); err == nil {
		t.Error("a fixed feature was changed")
	}
	if err := SetFeatures(name, map[string]bool{"no-such-offload": true}); err == nil {
		t.Error("an unknown feature was changed")
	}
	return nil
}
