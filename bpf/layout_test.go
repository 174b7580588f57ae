package bpf

import (
	"flag"
	"fmt"
	"os"
	"reflect"
	"sort"
	"strings"
	"testing"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/btf"

	"culvert/bpf/abi"
)

// objectType finds a named type in the object's BTF.
func objectType[T btf.Type](t *testing.T, name string) T {
	t.Helper()
	spec, err := loadSteer()
	if err != nil {
		t.Fatal(err)
	}
	var found T
	if err := spec.Types.TypeByName(name, &found); err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	return found
}

// Goal: package abi reads each field of the metadata where the program writes it. Method: for every member in
// the BTF, an area that is zero but for this member is read, and must show in the field of the same name
// alone.
func TestMetaLayout(t *testing.T) {
	meta := objectType[*btf.Struct](t, "meta")
	if meta.Size != abi.MetaSize {
		t.Fatalf("struct meta has %d bytes, abi.MetaSize is %d", meta.Size, abi.MetaSize)
	}
	seen := map[string]bool{}
	for _, member := range meta.Members {
		at := member.Offset.Bytes()
		if member.Name == "magic" {
			if at != 0 {
				t.Errorf("the magic lies at %d", at)
			}
			continue
		}
		size, err := btf.Sizeof(member.Type)
		if err != nil {
			t.Fatal(err)
		}
		area := make([]byte, abi.MetaSize)
		putMagic(area)
		var want uint64
		for i := range size {
			area[int(at)+i] = byte(0x11 * (i + 1))
			want |= uint64(0x11*(i+1)) << (8 * i)
		}
		got, ok := abi.ReadMeta(area)
		if !ok {
			t.Fatal("the magic was not seen")
		}
		value := reflect.ValueOf(got)
		for i := range value.NumField() {
			name, field := value.Type().Field(i).Name, value.Field(i)
			same := strings.EqualFold(name, strings.ReplaceAll(member.Name, "_", ""))
			if same {
				seen[name] = true
				if int(field.Type().Size()) != size || field.Uint() != want {
					t.Errorf("%s: %d bytes, read %#x, want %#x in %d bytes",
						name, field.Type().Size(), field.Uint(), want, size)
				}
			} else if field.Uint() != 0 {
				t.Errorf("member %s shows in field %s", member.Name, name)
			}
		}
	}
	if fields := reflect.TypeFor[abi.Meta]().NumField(); len(seen) != fields {
		t.Errorf("%d of abi.Meta's %d fields are members of struct meta: %v", len(seen), fields, seen)
	}
}

func putMagic(area []byte) {
	for i := range 4 {
		area[i] = byte(abi.Magic >> (8 * i))
	}
}

// Goal: the verdicts of Go and C are the same, in number and by name, and so are the words of struct
// settings.
func TestVerdictsMatch(t *testing.T) {
	enum := objectType[*btf.Enum](t, "verdict")
	if len(enum.Values) != int(abi.Verdicts)+1 {
		t.Fatalf("enum verdict has %d values with its end, abi has %d", len(enum.Values), abi.Verdicts)
	}
	for _, value := range enum.Values[:abi.Verdicts] {
		want := "VERDICT_" + strings.ToUpper(abi.Verdict(value.Value).String())
		if value.Name != want {
			t.Errorf("verdict %d is %s in C, %s in Go", value.Value, value.Name, want)
		}
	}
	settings := objectType[*btf.Struct](t, "settings")
	for i, want := range map[int]uint32{
		controlWord: 0, stallAfterWord: 8, packetMaxWord: 16, tablesWord: 24,
	} {
		if got := settings.Members[i].Offset.Bytes(); got != want {
			t.Errorf("word %d of struct settings lies at %d, want %d", i, got, want)
		}
	}
	if got := objectType[*btf.Struct](t, "heartbeat").Size; got != heartbeatWords*8 {
		t.Errorf("struct heartbeat has %d bytes, want %d", got, heartbeatWords*8)
	}
}

// Goal: names stay whole and distinct in the kernel, which keeps 15 bytes.
func TestNamesFit(t *testing.T) {
	spec, err := loadSteer()
	if err != nil {
		t.Fatal(err)
	}
	dispatcher, err := loadDispatcher()
	if err != nil {
		t.Fatal(err)
	}
	for _, named := range []*ebpf.CollectionSpec{spec, dispatcher} {
		for name := range named.Maps {
			if len(name) > 15 {
				t.Errorf("map name %q is cut in the kernel", name)
			}
		}
	}
	if dispatcher.Programs[DispatcherName] == nil || dispatcher.Programs[JointName] == nil {
		t.Errorf("programs are missing in %v", dispatcher.Programs)
	}
	probes, err := loadProbe()
	if err != nil {
		t.Fatal(err)
	}
	// Maps of probes have their metric's name, which may be longer.
	cut := map[string]string{}
	for name := range probes.Maps {
		short := name[:min(len(name), 15)]
		if other, taken := cut[short]; taken {
			t.Errorf("maps %q and %q have one name in the kernel", name, other)
		}
		cut[short] = name
	}
	for name := range probes.Programs {
		if len(name) > 15 {
			t.Errorf("program name %q is cut in the kernel", name)
		}
	}
	if _, ok := spec.Programs[ProgramName]; !ok || len(ProgramName) > 15 {
		t.Errorf("no program of the name %q, or it is cut in the kernel", ProgramName)
	}
}

var update = flag.Bool("update", false, "write the golden files anew")

// Goal: nobody makes the programs longer without noticing. Method: the numbers of instructions, before the
// verifier, against a golden file; `go test ./bpf -run Golden -update` writes it.
func TestInstructionsGolden(t *testing.T) {
	var lines []string
	for _, load := range []func() (*ebpf.CollectionSpec, error){loadSteer, loadProbe, loadDispatcher} {
		spec, err := load()
		if err != nil {
			t.Fatal(err)
		}
		for name, program := range spec.Programs {
			count := program.Instructions.Size() / 8
			lines = append(lines, fmt.Sprintf("%s %d\n", name, count))
		}
	}
	sort.Strings(lines)
	got := strings.Join(lines, "")
	const golden = "testdata/instructions.golden"
	if *update {
		if err := os.WriteFile(golden, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("instructions are\n%swere\n%s", got, want)
	}
}

// Goal: the object does not tell where it was built. Method: no path of this machine's checkout is in it.
func TestObjectHasNoPaths(t *testing.T) {
	here, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{here, "/home/", "/root/", "/usr/src/"} {
		if strings.Contains(string(_SteerBytes)+string(_ProbeBytes)+string(_DispatcherBytes), path) {
			t.Errorf("the object contains %q", path)
		}
	}
}
