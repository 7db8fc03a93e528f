// A place for the operator's console.
document.querySelector("main")?.append("Weir");
