// Package llama is Llama and its kin: the config and weights of a folder as Hugging Face
// lays it out, the shapes of known models, and one forward pass as ops. What sets Mistral,
// Qwen2, Qwen3 and Phi-3 apart is a table of families. It knows neither devices nor
// training; files come through the packages of files.
package llama
