package spool

// Adopt is Append for a record that another spool had before: it takes nobody's room, whatever WhenFull says.
// Where there is none the error is ErrFull.
func (l *Log) Adopt(r *Record) error {
	policy := l.config.WhenFull
	l.config.WhenFull = DropNewest
	defer func() { l.config.WhenFull = policy }()
	_, err := l.Append(r, false)
	return err
}

// Limit changes how long all files together may get, in bytes. Where they are longer, what there is stays
// until the next record needs room.
func (l *Log) Limit(most int64) { l.config.MaxBytes = most }
