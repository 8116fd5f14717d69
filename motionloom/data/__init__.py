"""Raw folders to a store, and a store to training windows."""
