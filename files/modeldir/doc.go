// Package modeldir finds folders in the Hugging Face cache and opens files inside a folder
// that somebody else filled: names are plain or come from the folder itself, links may not
// lead out (of the repository folder, in a Hugging Face cache), and only regular files are
// opened, without ever waiting for one. What is in the files belongs to the format packages.
package modeldir
