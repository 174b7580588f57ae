package confine

import (
	"errors"
	"fmt"
	"io/fs"

	"golang.org/x/sys/unix"
)

// Files are the folders, and files, that the process may use with all that is in them. One that is not there
// is left out; so is one that this process may not look at anyway.
type Files struct {
	Read  []string
	Write []string // read, write, make, rename and remove
}

// Rights on files, and in further versions of Landlock what was added (linux/landlock.h).
const (
	rightsRead = unix.LANDLOCK_ACCESS_FS_READ_FILE | unix.LANDLOCK_ACCESS_FS_READ_DIR

	rightsWrite = rightsRead | unix.LANDLOCK_ACCESS_FS_WRITE_FILE | unix.LANDLOCK_ACCESS_FS_TRUNCATE |
		unix.LANDLOCK_ACCESS_FS_MAKE_REG | unix.LANDLOCK_ACCESS_FS_MAKE_DIR |
		unix.LANDLOCK_ACCESS_FS_REMOVE_FILE | unix.LANDLOCK_ACCESS_FS_REMOVE_DIR |
		unix.LANDLOCK_ACCESS_FS_REFER

	// rightsOfFiles are those that make sense on what is no folder; the kernel refuses others there.
	rightsOfFiles = unix.LANDLOCK_ACCESS_FS_READ_FILE | unix.LANDLOCK_ACCESS_FS_WRITE_FILE |
		unix.LANDLOCK_ACCESS_FS_TRUNCATE

	rightsFirst     = unix.LANDLOCK_ACCESS_FS_MAKE_SYM<<1 - 1 // all of version 1
	versionRefer    = 2
	versionTruncate = 3
	versionIoctl    = 5
)

// handledRights are all rights that a version of Landlock can deny.
func handledRights(version int) uint64 {
	rights := uint64(rightsFirst)
	for _, later := range []struct {
		version int
		right   uint64
	}{
		{versionRefer, unix.LANDLOCK_ACCESS_FS_REFER}, {versionTruncate, unix.LANDLOCK_ACCESS_FS_TRUNCATE},
		{versionIoctl, unix.LANDLOCK_ACCESS_FS_IOCTL_DEV},
	} {
		if version >= later.version {
			rights |= later.right
		}
	}
	return rights
}

// restrictFiles leaves the process the files named, for all its threads, and returns the version of Landlock
// that does it.
func restrictFiles(files Files) (int, error) {
	version, err := landlockVersion()
	if errors.Is(err, unix.ENOSYS) || errors.Is(err, unix.EOPNOTSUPP) {
		return 0, errors.New("this kernel has no Landlock, or has it switched off")
	}
	if err != nil {
		return 0, fmt.Errorf("ask for Landlock: %w", err)
	}
	handled := handledRights(version)
	ruleset, err := newRuleset(&unix.LandlockRulesetAttr{Handled_access_fs: handled})
	if err != nil {
		return 0, fmt.Errorf("make Landlock rules: %w", err)
	}
	defer unix.Close(ruleset)
	for _, list := range []struct {
		paths  []string
		rights uint64
	}{{files.Read, rightsRead}, {files.Write, rightsWrite}} {
		for _, path := range list.paths {
			if err := allowPath(ruleset, path, list.rights&handled); err != nil {
				return 0, fmt.Errorf("allow %s by Landlock: %w", path, err)
			}
		}
	}
	if err := forAllThreads("restrict files by Landlock", unix.SYS_LANDLOCK_RESTRICT_SELF,
		uintptr(ruleset), 0, 0); err != nil {
		return 0, err
	}
	return version, nil
}

// allowPath gives rights on a folder with all that is in it, or on a file.
func allowPath(ruleset int, path string, rights uint64) error {
	file, err := unix.Open(path, unix.O_PATH|unix.O_CLOEXEC, 0)
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, fs.ErrPermission) {
		return nil
	}
	if err != nil {
		return err
	}
	defer unix.Close(file)
	var about unix.Stat_t
	if err := unix.Fstat(file, &about); err != nil {
		return err
	}
	if about.Mode&unix.S_IFMT != unix.S_IFDIR {
		rights &= rightsOfFiles
	}
	return allowBeneath(ruleset, &unix.LandlockPathBeneathAttr{Allowed_access: rights,
		Parent_fd: int32(file)})
}

// Enclose leaves the process the files named and the system calls of its list, for good. Where the kernel, or
// what the process runs in, does not allow either, the result says so. Drop comes before it.
func (c Confinement) Enclose(files Files) Confinement {
	if version, err := restrictFiles(files); err != nil {
		c.Files = fmt.Sprintf("not limited: %v", err)
	} else {
		c.Files = fmt.Sprintf("limited by Landlock, version %d", version)
	}
	// C's library starts threads in ways that are not in the list, and ends the process where it cannot.
	err := forAllThreads("limit system calls", unix.SYS_GETPID, 0, 0, 0)
	if err == nil {
		err = installFilter(Filter(refuse))
	}
	if err != nil {
		c.Syscalls = fmt.Sprintf("not limited: %v", err)
	} else {
		c.Syscalls = fmt.Sprintf("limited to %d by seccomp", len(systemCalls())+1)
	}
	return c
}
