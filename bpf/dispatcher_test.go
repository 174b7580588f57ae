package bpf

import (
	"encoding/hex"
	"errors"
	"reflect"
	"strings"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"
)

// asLibxdp is the map of a dispatcher with two programs as the protocol lays it down: one of priority 10
// after which XDP_PASS goes on, and one of priority 60 after which XDP_DROP does, too. Unused slots are 0.
var asLibxdp = "ec020200" + // magic, version 2, 2 programs, not for pieces
	"04000080" + "06000080" + strings.Repeat("00000000", 8) +
	"0a000000" + "3c000000" + strings.Repeat("00000000", 8) +
	strings.Repeat("00000000", 10)

func unhex(t *testing.T, text string) []byte {
	t.Helper()
	value, err := hex.DecodeString(text)
	if err != nil {
		t.Fatal(err)
	}
	return value
}

// Goal: what libxdp wrote is read, and what we write is what libxdp would have written.
func TestDispatcherSpeaksLibxdp(t *testing.T) {
	value := unhex(t, asLibxdp)
	d, err := ParseDispatcher(value)
	if err != nil {
		t.Fatal(err)
	}
	want := Dispatcher{Version: 2, Slots: []DispatcherSlot{
		{GoOnAfter: 1<<31 | 1<<2, Priority: 10}, {GoOnAfter: 1<<31 | 1<<2 | 1<<1, Priority: 60}}}
	if !reflect.DeepEqual(d, want) {
		t.Errorf("read %+v, want %+v", d, want)
	}
	again, err := d.value()
	if err != nil || !reflect.DeepEqual(again, value) {
		t.Errorf("written %x, %v, want %x", again, err, value)
	}
}

// Goal: a dispatcher is written as its own version has it, and says that it takes packets in several pieces
// only if each program does.
func TestDispatcherVersions(t *testing.T) {
	if size := unsafe.Sizeof(dispatcherDispatcherConfig{}); size != dispatcherSizeNew {
		t.Fatalf("struct dispatcher_config has %d bytes, want %d", size, dispatcherSizeNew)
	}
	if at := unsafe.Offsetof(dispatcherDispatcherConfig{}.Device); at != dispatcherSizeOld {
		t.Fatalf("version 2 ends after %d bytes, want %d", at, dispatcherSizeOld)
	}
	pieces := DispatcherSlot{GoOnAfter: 1 << 31, Flags: unix.BPF_F_XDP_HAS_FRAGS}
	for _, c := range []struct {
		version uint8
		slots   []DispatcherSlot
		size    int
		pieces  byte
	}{
		{2, []DispatcherSlot{pieces}, 124, 1},
		{2, []DispatcherSlot{pieces, JointSlot()}, 124, 0},
		{3, []DispatcherSlot{pieces, pieces}, 128, 1},
	} {
		d := Dispatcher{Version: c.version, Slots: c.slots}
		value, err := d.value()
		if err != nil || len(value) != c.size || value[3] != c.pieces || value[1] != c.version {
			t.Errorf("version %d with %d programs: %x, %v", c.version, len(c.slots), value, err)
		}
		back, err := ParseDispatcher(value)
		for i := range d.Slots {
			// After an empty slot the next one runs, whoever asked for it or not.
			d.Slots[i].GoOnAfter |= 1 << 31
		}
		if err != nil || !reflect.DeepEqual(back, d) {
			t.Errorf("read back %+v, %v, want %+v", back, err, d)
		}
	}
}

// Goal: what is not understood is left alone.
func TestDispatcherRefused(t *testing.T) {
	good := unhex(t, asLibxdp)
	f := func(what string, value []byte) {
		t.Helper()
		for range 2 {
			if d, err := ParseDispatcher(value); !errors.Is(err, ErrDispatcher) {
				t.Errorf("%s: %+v, %v", what, d, err)
			}
		}
	}
	changed := func(at int, to byte) []byte {
		value := append([]byte(nil), good...)
		value[at] = to
		return value
	}
	f("nothing", nil)
	f("another magic: version 1 has none", changed(0, 2))
	f("version 1", changed(1, 1))
	f("version 3 in the size of 2", changed(1, 3))
	f("a version to come", changed(1, 4))
	f("a byte less", good[:len(good)-1])
	f("a byte more", append(changed(0, good[0]), 0))
	f("more programs than slots", changed(2, 11))
	device := append(changed(1, 3), 1, 0, 0, 0)
	f("bound to a device", device)
}
