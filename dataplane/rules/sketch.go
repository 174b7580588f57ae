package rules

import (
	"math"
)

// A sketch counts values in buckets whose bounds grow by a constant factor, so that a quantile is found
// with a bounded relative error however the values are spread, and two sketches merge by adding up. It
// takes a fixed number of words: when there are more buckets than places, neighbours are united two by
// two, which doubles the error:
//
//	level   error   holds values that lie within a factor of
//	0       1 %         3.6     each sign and zero for themselves; buckets that hold nothing take no place
//	1       2 %        13
//	2       4 %       170
//	3       8 %    28 000
//	4      16 %       8·10⁸
//
// The words: first how many buckets there are and the level, then for each bucket, in the order of their
// values, its key in the upper half and its count in the lower. The key is 0 for zero, for positive values
// the bucket's exponent moved to be positive, and for negative values the opposite.
const (
	sketchBuckets = 64
	sketchWords   = 1 + sketchBuckets
	// sketchGrowth is the logarithm of the factor between bucket bounds at level 0: half of it is the error.
	sketchGrowth = 0.02
	// sketchBias moves exponents to be positive. Values beyond 10^±142 count as if they were there.
	sketchBias = 1 << 14
)

// sketchKey is the bucket of a value at a level.
func sketchKey(v float64, level uint) int {
	size := math.Abs(v)
	if size < 1e-142 {
		return 0
	}
	exponent := int(math.Ceil(math.Log(min(size, 1e142)) / sketchGrowth))
	key := halved(exponent, level) + sketchBias
	if v < 0 {
		return -key
	}
	return key
}

// halved divides by two, rounding up, as often as the level says.
func halved(exponent int, level uint) int { return -(-exponent >> level) }

// sketchValue is the value that stands for a bucket: the one with the same relative distance to both bounds.
func sketchValue(key int, level uint) float64 {
	if key == 0 {
		return 0
	}
	sign := 1.0
	if key < 0 {
		sign, key = -1, -key
	}
	growth := sketchGrowth * float64(int(1)<<level)
	return sign * math.Exp(float64(key-sketchBias)*growth) * 2 / (1 + math.Exp(growth))
}

// sketchError is the relative error of quantiles at a level.
func sketchError(level uint) float64 { return math.Tanh(sketchGrowth * float64(int(1)<<level) / 2) }

// sketch is a view of a sketch's words.
type sketch []uint64

func (s sketch) length() int     { return int(uint32(s[0])) }
func (s sketch) level() uint     { return uint(s[0] >> 32) }
func (s sketch) key(at int) int  { return int(int32(s[1+at] >> 32)) }
func (s sketch) reset()          { s[0] = 0 }
func bucket(k int, n int) uint64 { return uint64(uint32(int32(k)))<<32 | uint64(uint32(n)) }

func (s sketch) set(length int, level uint) { s[0] = uint64(level)<<32 | uint64(length) }

// count is how many values a bucket holds.
func (s sketch) count(at int) int { return int(uint32(s[1+at])) }

// search finds the first bucket whose key is not below a key.
func (s sketch) search(key int) int {
	low, high := 0, s.length()
	for low < high {
		middle := int(uint(low+high) >> 1)
		if s.key(middle) < key {
			low = middle + 1
		} else {
			high = middle
		}
	}
	return low
}

// sketchLevels is the level at which every value is in one of three buckets: below, at and above zero.
const sketchLevels = 20

// plausible tells whether words that were read back can be a sketch's.
func (s sketch) plausible() bool {
	if n := uint32(s[0]); n > sketchBuckets || s.level() > sketchLevels {
		return false
	}
	for i := range s.length() {
		key := s.key(i)
		if key > 2*sketchBias || key < -2*sketchBias || i > 0 && key <= s.key(i-1) {
			return false
		}
	}
	return true
}

// add counts a value.
func (s sketch) add(v float64) {
	for {
		length, level := s.length(), s.level()
		key := sketchKey(v, level)
		at := s.search(key)
		if at < length && s.key(at) == key {
			if uint32(s[1+at]) != math.MaxUint32 {
				s[1+at]++
			}
			return
		}
		if length < sketchBuckets {
			copy(s[2+at:2+length], s[1+at:1+length])
			s[1+at] = bucket(key, 1)
			s.set(length+1, level)
			return
		}
		s.coarsen()
	}
}

// coarsen unites neighbouring buckets.
func (s sketch) coarsen() {
	n := 0
	for i := range s.length() {
		key := coarser(s.key(i))
		if n > 0 && s.key(n-1) == key {
			s[n] = bucket(key, saturated(s.count(n-1)+s.count(i)))
			continue
		}
		s[1+n] = bucket(key, s.count(i))
		n++
	}
	s.set(n, s.level()+1)
}

func saturated(n int) int { return min(n, math.MaxUint32) }

// coarser is a bucket's key at the next level.
func coarser(key int) int {
	switch {
	case key > 0:
		return halved(key-sketchBias, 1) + sketchBias
	case key < 0:
		return -(halved(-key-sketchBias, 1) + sketchBias)
	}
	return 0
}

// merge adds another sketch's counts.
func (s sketch) merge(other sketch) {
	if other.length() == 0 {
		return
	}
	for s.level() < other.level() {
		s.coarsen()
	}
	shift := s.level() - other.level()
	var all [2*sketchBuckets + 1]uint64
	merged := sketch(all[:])
	n, i, j := 0, 0, 0
	for i < s.length() || j < other.length() {
		next, mine, theirs := 0, i < s.length(), j < other.length()
		a, b := 0, 0
		if mine {
			a = s.key(i)
		}
		if theirs {
			b = other.key(j)
			for range shift {
				b = coarser(b)
			}
		}
		count := 0
		if next = b; mine && (!theirs || a < b) {
			next = a
		}
		if mine && a == next {
			count += s.count(i)
			i++
		}
		if theirs && b == next {
			count += other.count(j)
			j++
		}
		if n > 0 && merged.key(n-1) == next {
			merged[n] = bucket(next, saturated(merged.count(n-1)+count))
			continue
		}
		merged[1+n] = bucket(next, saturated(count))
		n++
	}
	merged.set(n, s.level())
	for merged.length() > sketchBuckets {
		merged.coarsen()
	}
	copy(s, merged[:1+merged.length()])
}

// quantile is the value below or at which lies the share q of all, and not less: the smallest for 0, the
// largest for 1. ok is false for an empty sketch.
func (s sketch) quantile(q float64) (v float64, ok bool) {
	total := 0
	for i := range s.length() {
		total += s.count(i)
	}
	if total == 0 {
		return 0, false
	}
	// The product may be a little more than the whole number that it is meant to be: 0.55·100 is.
	rank := max(int(math.Ceil(q*float64(total)*(1-1e-12))), 1)
	for i := range s.length() {
		if rank -= s.count(i); rank <= 0 {
			return sketchValue(s.key(i), s.level()), true
		}
	}
	return sketchValue(s.key(s.length()-1), s.level()), true
}
