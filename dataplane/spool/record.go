package spool

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
)

const (
	// recordMagic begins every record: "CVR1".
	recordMagic = 0x31525643
	// recordHead is the length of a record's header.
	recordHead = 64
	// tenantMax bounds a tenant's name: its length stands in one byte.
	tenantMax = 255
	// bodyMax bounds a body before and after compressing: far above any batch, so that a length that is
	// nonsense is never believed.
	bodyMax = 64 << 20
)

// errMalformed is what is behind every error about bytes that no Log has written.
var errMalformed = errors.New("malformed")

// Record is one batch: what Append takes and Next gives.
type Record struct {
	// Sequence is the record's number in its spool; Append gives it.
	Sequence uint64
	// Epoch names the run of the gateway that wrote the record; Open gives it to all it appends.
	Epoch uint64
	// Worker, Batch and Shard tell whose batch it was, its number there, and the shard of its series.
	Worker uint16
	Shard  uint16
	Batch  uint64
	// Tenant (optional) is whose points they are.
	Tenant string
	// Points is how many lines the body has.
	Points int
	// Oldest is when the oldest of the points arrived, nanoseconds since 1970.
	Oldest int64
	// Body is lines of Line Protocol with timestamps in nanoseconds, each ended by a line feed. What Next
	// returns lies in the memory that was handed to it.
	Body []byte
}

// castagnoli has an instruction on amd64 and arm64.
var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// header is a record's first 64 bytes, little endian.
type header struct {
	bodyCRC   uint32 // of the tenant's name and the stored body
	stored    uint32 // length of the body as stored
	plain     uint32 // length of the body
	points    uint32
	sequence  uint64
	oldest    int64
	batch     uint64
	worker    uint16
	shard     uint16
	codec     Codec
	precision uint8 // 0 is nanoseconds, the only one yet
	tenant    uint8 // length of the tenant's name, which stands between header and body
}

// size is the length of the whole record.
func (h *header) size() int64 { return recordHead + int64(h.tenant) + int64(h.stored) }

// put writes the header into b. salt is the segment's: what looks like a record but stood in another file, or
// inside of a body, does not have it.
func (h *header) put(b []byte, salt uint64) {
	_ = b[recordHead-1]
	le := binary.LittleEndian
	le.PutUint32(b[0:], recordMagic)
	le.PutUint32(b[8:], h.bodyCRC)
	le.PutUint32(b[12:], h.stored)
	le.PutUint32(b[16:], h.plain)
	le.PutUint32(b[20:], h.points)
	le.PutUint64(b[24:], h.sequence)
	le.PutUint64(b[32:], uint64(h.oldest))
	le.PutUint64(b[40:], h.batch)
	le.PutUint16(b[48:], h.worker)
	le.PutUint16(b[50:], h.shard)
	b[52], b[53], b[54], b[55] = uint8(h.codec), h.precision, h.tenant, 0
	le.PutUint64(b[56:], salt)
	le.PutUint32(b[4:], crc32.Checksum(b[8:recordHead], castagnoli))
}

// parseHeader reads a header and reports whether it is one of the segment with this salt.
func parseHeader(b []byte, salt uint64) (h header, ok bool) {
	if len(b) < recordHead {
		return header{}, false
	}
	le := binary.LittleEndian
	if le.Uint32(b) != recordMagic || le.Uint64(b[56:]) != salt ||
		le.Uint32(b[4:]) != crc32.Checksum(b[8:recordHead], castagnoli) {
		return header{}, false
	}
	h = header{
		bodyCRC: le.Uint32(b[8:]), stored: le.Uint32(b[12:]), plain: le.Uint32(b[16:]),
		points: le.Uint32(b[20:]), sequence: le.Uint64(b[24:]), oldest: int64(le.Uint64(b[32:])),
		batch: le.Uint64(b[40:]), worker: le.Uint16(b[48:]), shard: le.Uint16(b[50:]), codec: Codec(b[52]),
		precision: b[53], tenant: b[54],
	}
	return h, h.stored <= bodyMax && h.plain <= bodyMax && h.points <= bodyMax && h.precision == 0
}

// pack writes tenant and compressed body into dst behind room for the header, which it returns without the
// sequence: the caller puts it. dst is replaced where it is too small.
func (p *press) pack(dst []byte, r *Record, codec Codec) ([]byte, header, error) {
	if len(r.Tenant) > tenantMax || len(r.Body) > bodyMax || r.Points < 0 || r.Points > bodyMax {
		return dst, header{}, fmt.Errorf(
			"pack record: tenant of %d bytes, body of %d, %d points; want at most %d, %d, %d",
			len(r.Tenant), len(r.Body), r.Points, tenantMax, bodyMax, bodyMax)
	}
	if need := recordHead + tenantMax + p.bound(codec, len(r.Body)); cap(dst) < need {
		dst = make([]byte, 0, need)
	}
	dst = append(dst[:recordHead], r.Tenant...)
	dst, codec, err := p.append(dst, r.Body, codec)
	if err != nil {
		return dst, header{}, err
	}
	return dst, header{
		bodyCRC: crc32.Checksum(dst[recordHead:], castagnoli), plain: uint32(len(r.Body)),
		stored: uint32(len(dst) - recordHead - len(r.Tenant)), points: uint32(r.Points), oldest: r.Oldest,
		batch: r.Batch, worker: r.Worker, shard: r.Shard, codec: codec, tenant: uint8(len(r.Tenant)),
	}, nil
}

// open checks the bytes behind a header and makes the record of them. The body lies in into where it has
// room.
func (p *press) open(h *header, rest, into []byte) (Record, error) {
	if got := crc32.Checksum(rest, castagnoli); got != h.bodyCRC {
		return Record{Body: into[:0]}, fmt.Errorf("check record %d: crc32c %08x, want %08x: %w",
			h.sequence, got, h.bodyCRC, errMalformed)
	}
	body, err := p.expand(into, rest[h.tenant:], h.codec, int(h.plain))
	return Record{
		Sequence: h.sequence, Worker: h.worker, Shard: h.shard, Batch: h.batch,
		Tenant: string(rest[:h.tenant]), Points: int(h.points), Oldest: h.oldest, Body: body,
	}, err
}
