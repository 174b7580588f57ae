package abi

import (
	"encoding/binary"
	"testing"
)

func TestReadMetaRefuses(t *testing.T) {
	f := func(area []byte) {
		t.Helper()
		if meta, ok := ReadMeta(area); ok || meta != (Meta{}) {
			t.Errorf("ReadMeta(%x) = %+v, %t", area, meta, ok)
		}
	}
	f(nil)
	f(make([]byte, MetaSize))
	whole := make([]byte, MetaSize)
	binary.LittleEndian.PutUint32(whole, Magic)
	if _, ok := ReadMeta(whole); !ok {
		t.Fatal("the magic alone makes metadata")
	}
	f(whole[:MetaSize-1])
	binary.LittleEndian.PutUint32(whole, Magic+1)
	f(whole)
	binary.LittleEndian.PutUint32(whole, Magic)
	ClearMeta(whole)
	f(whole)
}

func TestVerdictNames(t *testing.T) {
	seen := map[string]bool{}
	for v := range Verdicts {
		if name := v.String(); name == "" || name == "unknown" || seen[name] {
			t.Errorf("verdict %d is called %q", v, name)
		}
		seen[v.String()] = true
	}
	if Verdicts.String() != "unknown" {
		t.Errorf("a verdict that does not exist is called %q", Verdicts)
	}
}

func TestReadMetaAllocates(t *testing.T) {
	area := make([]byte, MetaSize)
	binary.LittleEndian.PutUint32(area, Magic)
	var sum uint64
	if n := testing.AllocsPerRun(100, func() {
		meta, _ := ReadMeta(area)
		sum += meta.Arrival
		_ = Source.String()
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}
