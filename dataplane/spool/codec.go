package spool

import (
	"fmt"

	"github.com/klauspost/compress/s2"
	"github.com/klauspost/compress/zstd"
)

// Codec says how a record's body is stored. The values stand in the files.
type Codec uint8

const (
	// CodecNone stores bodies as they are.
	CodecNone Codec = 0
	// CodecSnappy is for speed: snappy's block format.
	CodecSnappy Codec = 1
	// CodecZstd is for room: one zstd frame.
	CodecZstd Codec = 2
)

var codecNames = [...]string{CodecNone: "none", CodecSnappy: "snappy", CodecZstd: "zstd"}

func (c Codec) String() string {
	if int(c) < len(codecNames) {
		return codecNames[c]
	}
	return fmt.Sprintf("codec %d", uint8(c))
}

// ParseCodec reads a codec's name.
func ParseCodec(name string) (Codec, error) {
	for i, known := range codecNames {
		if name == known {
			return Codec(i), nil
		}
	}
	return 0, fmt.Errorf("read codec %q: want none, snappy or zstd", name)
}

// press compresses and expands bodies for one Log. zstd's tables are made with the first body that needs
// them: some megabytes.
type press struct {
	encoder *zstd.Encoder
	decoder *zstd.Decoder
}

// bound is how long a body of n bytes can get by compressing.
func (p *press) bound(codec Codec, n int) int {
	switch codec {
	case CodecSnappy:
		return max(n, s2.MaxEncodedLen(n))
	case CodecZstd:
		// A frame of incompressible blocks: the header and three bytes per block of 128 KiB.
		return n + n>>12 + 64
	}
	return n
}

// append appends the compressed body to dst, or the body as it is where compressing gains nothing, and says
// which codec it is stored with. dst has room for bound.
func (p *press) append(dst, body []byte, codec Codec) ([]byte, Codec, error) {
	at := len(dst)
	switch codec {
	case CodecSnappy:
		stored := s2.EncodeSnappy(dst[at:cap(dst)], body)
		if len(stored) < len(body) {
			return dst[:at+len(stored)], codec, nil
		}
	case CodecZstd:
		if p.encoder == nil {
			var err error
			p.encoder, err = zstd.NewWriter(nil, zstd.WithEncoderConcurrency(1),
				zstd.WithEncoderLevel(zstd.SpeedFastest), zstd.WithEncoderCRC(false))
			if err != nil {
				return nil, 0, fmt.Errorf("make zstd encoder: %w", err)
			}
		}
		dst = p.encoder.EncodeAll(body, dst)
		if len(dst)-at < len(body) {
			return dst, codec, nil
		}
		dst = dst[:at]
	}
	return append(dst, body...), CodecNone, nil
}

// expand gives the body that was stored, in into's memory where it has room. It must have exactly so many
// bytes.
func (p *press) expand(into, stored []byte, codec Codec, plain int) ([]byte, error) {
	into = into[:0]
	if cap(into) < plain {
		into = make([]byte, 0, plain)
	}
	var err error
	switch codec {
	case CodecNone:
		into = append(into, stored...)
	case CodecSnappy:
		// The length that the body itself claims comes first, before memory is taken for it.
		n, lengthErr := s2.DecodedLen(stored)
		if lengthErr != nil || n != plain {
			return into, fmt.Errorf("expand snappy: %d bytes, want %d: %w", n, plain, errMalformed)
		}
		into, err = s2.Decode(into[:plain], stored)
	case CodecZstd:
		if p.decoder == nil {
			p.decoder, err = zstd.NewReader(nil, zstd.WithDecoderConcurrency(1),
				zstd.WithDecoderMaxMemory(bodyMax))
			if err != nil {
				return into, fmt.Errorf("make zstd decoder: %w", err)
			}
		}
		into, err = p.decoder.DecodeAll(stored, into)
	default:
		return into, fmt.Errorf("expand body: %s: %w", codec, errMalformed)
	}
	if err == nil && len(into) != plain {
		err = fmt.Errorf("%d bytes, want %d: %w", len(into), plain, errMalformed)
	}
	if err != nil {
		return into, fmt.Errorf("expand %s: %w", codec, err)
	}
	return into, nil
}

// close gives back what the codecs hold.
func (p *press) close() {
	if p.encoder != nil {
		_ = p.encoder.Close()
	}
	if p.decoder != nil {
		p.decoder.Close()
	}
	*p = press{}
}
