// Package llama is one model family: the config and weights of a folder as Hugging Face
// lays it out, the shapes of known models, and the forward pass as ops. It knows neither
// devices nor training; files come through the packages of files.
package llama
