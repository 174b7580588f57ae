package point

import "testing"

func TestSpanKeepsItsParts(t *testing.T) {
	f := func(arena Arena, offset, length int) {
		t.Helper()
		s := MakeSpan(arena, offset, length)
		if s.Arena() != arena || s.Offset() != offset || s.Length() != length || s.End() != offset+length {
			t.Fatalf("MakeSpan(%d, %d, %d) reads back as (%d, %d, %d)",
				arena, offset, length, s.Arena(), s.Offset(), s.Length())
		}
	}
	f(Payload, 0, 0)
	f(Payload, 1, 65507)
	f(Scratch, 0, 1)
	f(Scratch, 1<<32-1, LengthMax)
}

func TestLookUpByName(t *testing.T) {
	p := Point{
		PayloadBytes: []byte("cpu,host=a load=2"),
		ScratchBytes: []byte("x=y"),
		Tags:         []Tag{{Name: MakeSpan(Payload, 4, 4), Value: MakeSpan(Payload, 9, 1)}},
		Fields: []Field{
			{Name: MakeSpan(Payload, 11, 4), Value: MakeSpan(Payload, 16, 1), Kind: Int},
			{Name: MakeSpan(Scratch, 0, 3), Kind: Bool, Bits: 1, Known: true},
		},
	}
	if v, ok := p.Tag("host"); !ok || string(p.Bytes(v)) != "a" {
		t.Fatalf("tag host = %q, %t; want a", p.Bytes(v), ok)
	}
	if _, ok := p.Tag("hos"); ok {
		t.Fatal("a prefix of a tag's name finds it")
	}
	if f := p.Field("load"); f == nil || p.Int(f) != 2 {
		t.Fatalf("field load = %v, want 2", f)
	}
	if f := p.Field("x=y"); f == nil || !p.Bool(f) {
		t.Fatalf("a field named in the scratch arena is not found: %v", f)
	}
	if f := p.Field("none"); f != nil {
		t.Fatalf("field none = %v, want nil", f)
	}
	p.Reset()
	if len(p.Tags) != 0 || len(p.Fields) != 0 || p.PayloadBytes == nil {
		t.Fatal("Reset keeps tags or fields, or drops the arenas")
	}
}
