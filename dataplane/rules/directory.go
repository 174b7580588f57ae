package rules

import "math/bits"

// directory finds the numbers of keys by their hashes. It grows by a shelf at a time (linear hashing), so
// that no point waits for a large table to be copied: when there are more than shelfFill keys for each
// shelf, the keys of one shelf are dealt out to it and to a new one, and the next time those of the next.
//
//	shelves  │ 0 │ 1 │ 2 │ 3 │ 4 │ 5 │      Of six, 0 and 1 have been split into 0, 4 and 1, 5: a key
//	           ▲       ▲       │            lies on the shelf of the low three bits of its tag where
//	           └───────┼───────┘            there is one, else on that of the low two.
//	                 next to be split
//
// A shelf is a cache line of seven cells. Keys that find it full go to a shelf behind it, of a pool. What an
// insertion does is bounded: it looks through one shelf and what is behind it, splits one, and takes memory
// by chunks of shelfChunk. It holds no pointers but those of its chunks. It belongs to one thread.
type directory struct {
	chunks []*[shelfChunk]shelf
	count  uint32 // of shelves; those that the tags name
	upper  uint32 // the tag's bits that name a shelf: a power of two less one, at least count−1
	length int    // of keys

	behind     []*[shelfChunk]shelf // the pool of shelves behind others
	behindCut  uint32               // of these were ever used
	behindFree uint32               // number plus one of the first free one, which links the next; or 0
}

// shelf is seven cells and a link. A cell is a tag in its upper half and a key's number plus one in its lower
// half; 0 is free. Used cells come first. The last word is the number plus one of the shelf behind this one,
// or 0; only the last of several has free cells.
type shelf [shelfCells + 1]uint64

const (
	shelfCells = 7
	shelfLink  = shelfCells
	// shelfChunk shelves are 8 KiB, which Go lays out so that a shelf is a cache line.
	shelfChunk = 128
	// shelfFill is how many keys there are for each shelf, in halves. Those to be split soon have up to
	// twice as many as those that were, so about one in ten has another behind it: 16 bytes a key.
	shelfFill = 9
)

// tagOf is the part of a hash that cells hold: its upper half, enough to tell most keys apart before they are
// looked at. The highest bit is set, so that no tag looks like a free cell's; it says least among the keys of
// one owner, which has a range of hashes.
func tagOf(hash uint64) uint32 { return uint32(hash>>32) | 1<<31 }

// shelfAt is a shelf by its number.
func shelfAt(chunks []*[shelfChunk]shelf, i uint32) *shelf {
	return &chunks[i/shelfChunk][i%shelfChunk]
}

// home is the number of a tag's shelf.
func (d *directory) home(tag uint32) uint32 {
	i, lower := tag&d.upper, tag&(d.upper>>1)
	if i >= d.count {
		i = lower
	}
	return i
}

// first is the shelf of a tag, nil where there is no key at all.
func (d *directory) first(tag uint32) *shelf {
	if d.count == 0 {
		return nil
	}
	return shelfAt(d.chunks, d.home(tag))
}

// next is the shelf behind another, or nil.
func (d *directory) next(b *shelf) *shelf {
	if b[shelfLink] == 0 {
		return nil
	}
	return shelfAt(d.behind, uint32(b[shelfLink])-1)
}

// match has a bit for each cell with a tag. It looks at all cells, since where to stop cannot be foreseen.
func (b *shelf) match(tag uint32) uint64 {
	want := uint64(tag)
	return ((b[0]>>32^want)-1)>>63 | ((b[1]>>32^want)-1)>>63<<1 | ((b[2]>>32^want)-1)>>63<<2 |
		((b[3]>>32^want)-1)>>63<<3 | ((b[4]>>32^want)-1)>>63<<4 | ((b[5]>>32^want)-1)>>63<<5 |
		((b[6]>>32^want)-1)>>63<<6
}

// number is the key's number in the first cell that match found.
func (b *shelf) number(found uint64) int32 {
	return int32(uint32(b[bits.TrailingZeros64(found)&7])) - 1
}

// add enters a key's number.
func (d *directory) add(tag uint32, i int32) {
	if d.count == 0 {
		d.open(0)
		d.count = 1
	}
	d.place(shelfAt(d.chunks, d.home(tag)), uint64(tag)<<32|uint64(uint32(i)+1))
	if d.length++; 2*d.length > shelfFill*int(d.count) {
		d.split()
	}
}

// open makes room for the shelf of a number.
func (d *directory) open(i uint32) {
	if int(i/shelfChunk) == len(d.chunks) {
		d.chunks = append(d.chunks, new([shelfChunk]shelf))
	}
}

// place writes a cell into the first free one of a shelf and those behind it.
func (d *directory) place(b *shelf, cell uint64) {
	for b[shelfLink] != 0 {
		b = shelfAt(d.behind, uint32(b[shelfLink])-1)
	}
	for i := range shelfCells {
		if b[i] == 0 {
			b[i] = cell
			return
		}
	}
	number := d.takeBehind()
	b[shelfLink] = uint64(number) + 1
	shelfAt(d.behind, number)[0] = cell
}

// takeBehind is the number of an empty shelf of the pool.
func (d *directory) takeBehind() uint32 {
	if d.behindFree != 0 {
		number := d.behindFree - 1
		b := shelfAt(d.behind, number)
		d.behindFree = uint32(b[shelfLink])
		*b = shelf{}
		return number
	}
	number := d.behindCut
	if int(number/shelfChunk) == len(d.behind) {
		d.behind = append(d.behind, new([shelfChunk]shelf))
	}
	d.behindCut++
	return number
}

// giveBehind gives a shelf back to the pool.
func (d *directory) giveBehind(number uint32) {
	shelfAt(d.behind, number)[shelfLink] = uint64(d.behindFree)
	d.behindFree = number + 1
}

// split makes one shelf more, of keys of the one whose turn it is.
func (d *directory) split() {
	if d.count > d.upper {
		d.upper = 2*d.upper + 1
	}
	made := d.count
	d.open(made)
	d.count++
	from, to := shelfAt(d.chunks, made&(d.upper>>1)), shelfAt(d.chunks, made)
	cells := *from
	*from, *to = shelf{}, shelf{}
	for {
		for _, cell := range cells[:shelfCells] {
			switch {
			case cell == 0:
			case uint32(cell>>32)&d.upper == made:
				d.place(to, cell)
			default:
				d.place(from, cell)
			}
		}
		if cells[shelfLink] == 0 {
			return
		}
		number := uint32(cells[shelfLink]) - 1
		cells = *shelfAt(d.behind, number)
		d.giveBehind(number)
	}
}

// remove takes a key's number out, which is there.
func (d *directory) remove(tag uint32, i int32) {
	cell := uint64(tag)<<32 | uint64(uint32(i)+1)
	b := shelfAt(d.chunks, d.home(tag))
	var found *uint64
	var before *shelf
	for {
		for c := range shelfCells {
			if b[c] == cell {
				found = &b[c]
			}
		}
		if b[shelfLink] == 0 {
			break
		}
		before, b = b, shelfAt(d.behind, uint32(b[shelfLink])-1)
	}
	if found == nil {
		panic("BUG: a key is not in the directory that it is taken out of")
	}
	// The last cell of all takes the place of the one that goes, so that free cells are always last.
	last := shelfCells - 1
	for b[last] == 0 {
		last--
	}
	*found = b[last]
	b[last] = 0
	if last == 0 && before != nil {
		d.giveBehind(uint32(before[shelfLink]) - 1)
		before[shelfLink] = 0
	}
	d.length--
}

// clear takes all keys out and keeps the memory.
func (d *directory) clear() {
	for i := range d.count {
		*shelfAt(d.chunks, i) = shelf{}
	}
	d.length, d.behindCut, d.behindFree = 0, 0, 0
	for _, chunk := range d.behind {
		clear(chunk[:])
	}
}

// show shows the memory of the shelves.
func (d *directory) show(show func(memory []byte)) {
	for _, chunks := range [][]*[shelfChunk]shelf{d.chunks, d.behind} {
		for _, chunk := range chunks {
			show(bytesOf(chunk[:]))
		}
	}
}
