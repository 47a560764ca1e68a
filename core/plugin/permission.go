package plugin

import (
	"errors"
	"io/fs"
	"os"
	"os/user"
	"path/filepath"
	"strconv"
	"syscall"
)

// checkPermissions refuses a file that somebody else could have put or changed: the file,
// the folder it was found in, and all folders above it. path was found, real is where its
// links lead.
func checkPermissions(path, real string) error {
	if err := checkWritable(real, true); err != nil {
		return err
	}
	for _, start := range []string{filepath.Dir(path), filepath.Dir(real)} {
		for dir := start; ; dir = filepath.Dir(dir) {
			if err := checkWritable(dir, dir == start); err != nil {
				return err
			}
			if dir == filepath.Dir(dir) {
				break
			}
		}
		if path == real {
			break
		}
	}
	return nil
}

// checkWritable refuses what strangers can write and, with owned, what a stranger owns.
// In a sticky folder nobody replaces another's file.
func checkWritable(path string, owned bool) error {
	info, err := os.Stat(path)
	if err != nil {
		return refuse(ReasonPermission, "cannot be checked: %v", err)
	}
	stat, ok := info.Sys().(*syscall.Stat_t)
	if !ok || info.IsDir() && info.Mode()&fs.ModeSticky != 0 {
		return nil
	}
	if info.Mode().Perm()&0o002 != 0 {
		return refuse(ReasonPermission, "%s can be written by everybody; run chmod o-w %s", path, strconv.Quote(path))
	}
	if info.Mode().Perm()&0o020 != 0 && !privateGroup(stat.Uid, stat.Gid) {
		return refuse(ReasonPermission, "%s can be written by group %s; run chmod g-w %s", path, groupName(stat.Gid), strconv.Quote(path))
	}
	if owned && !trustedOwner(stat.Uid) {
		return refuse(ReasonPermission, "%s belongs to %s, expected root, you, or the owner of this program; run chown %d %s",
			path, userName(stat.Uid), os.Geteuid(), strconv.Quote(path))
	}
	return nil
}

// trustedOwner is root, the user, or who owns this program.
func trustedOwner(uid uint32) bool {
	if uid == 0 || int64(uid) == int64(os.Geteuid()) {
		return true
	}
	exe, err := realExecutable()
	if err != nil {
		return false
	}
	info, err := os.Stat(exe)
	if err != nil {
		return false
	}
	stat, ok := info.Sys().(*syscall.Stat_t)
	return ok && stat.Uid == uid
}

// privateGroup reports whether a group is its owner's own, as most systems give every user.
func privateGroup(uid, gid uint32) bool {
	if uid == gid {
		return true
	}
	return userName(uid) == groupName(gid)
}

func userName(uid uint32) string {
	id := strconv.FormatUint(uint64(uid), 10)
	if u, err := user.LookupId(id); err == nil {
		return u.Username
	}
	return "user " + id
}

func groupName(gid uint32) string {
	id := strconv.FormatUint(uint64(gid), 10)
	if g, err := user.LookupGroupId(id); err == nil {
		return g.Name
	}
	return id
}

// openFile opens a candidate for reading and makes sure that it is a plain file.
func openFile(real string) (*os.File, os.FileInfo, error) {
	info, err := os.Stat(real)
	if err != nil {
		return nil, nil, refuse(ReasonPermission, "cannot be read: %v", errors.Unwrap(err))
	}
	if !info.Mode().IsRegular() {
		return nil, nil, refuse(ReasonNotLibrary, "is no plain file (%s)", info.Mode().Type())
	}
	f, err := os.Open(real)
	if err != nil {
		return nil, nil, refuse(ReasonPermission, "cannot be read: %v", errors.Unwrap(err))
	}
	return f, info, nil
}
