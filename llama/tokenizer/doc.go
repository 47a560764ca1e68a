// Package tokenizer turns text into token ids and back, from a Hugging Face
// tokenizer.json: byte-pair encoding with byte fallback (Llama 2) and byte-level
// byte-pair encoding (Llama 3, Qwen2, GPT-2), with their normalisers,
// pre-tokenizers, added tokens, post-processors and decoders. It gives the ids
// that Hugging Face's own library gives.
//
// What may enter: reading that file and the two special-token fields of
// tokenizer_config.json, and the steps from text to ids and ids to text, each in
// time about linear in the text. What may not: prompts and chat templates,
// padding, truncation, labels, and any knowledge of the model's weights.
package tokenizer
