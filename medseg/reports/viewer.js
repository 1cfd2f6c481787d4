(function () {
  "use strict";
  const LIBRARY = "_static/niivue/niivue.umd.js";
  const OPACITY = { image: 1, reference: 0.5, prediction: 1 };

  // Sphinx writes the way to the book's root on <html>; outside a built book there is none.
  const root = document.documentElement.getAttribute("data-content_root");

  function loadLibrary() {
    if (window.medsegNiivue) return window.medsegNiivue;
    window.medsegNiivue = new Promise(function (resolve, reject) {
      // With require.js on the page the script would register itself there instead of on window.
      const define = window.define;
      window.define = undefined;
      const restore = function () { if (define !== undefined) window.define = define; };
      const script = document.createElement("script");
      script.src = root + LIBRARY;
      script.onload = function () { restore(); resolve(window.niivue); };
      script.onerror = function () { restore(); reject(new Error("the viewer's script did not load")); };
      document.head.append(script);
    });
    return window.medsegNiivue;
  }

  function hasWebGL() {
    const gl = document.createElement("canvas").getContext("webgl2");
    if (!gl) return false;
    // A browser allows about 16 contexts: give this one back at once.
    const lose = gl.getExtension("WEBGL_lose_context");
    if (lose) lose.loseContext();
    return true;
  }

  function bytesOf(base64) {
    const text = atob(base64);
    const bytes = new Uint8Array(text.length);
    for (let i = 0; i < text.length; i++) bytes[i] = text.charCodeAt(i);
    return bytes.buffer;
  }

  function colormapOf(labels) {
    const map = { R: [0], G: [0], B: [0], A: [0], I: [0], labels: [""] };
    labels.forEach(function (label) {
      map.I.push(label.value);
      map.R.push(label.rgb[0]);
      map.G.push(label.rgb[1]);
      map.B.push(label.rgb[2]);
      map.A.push(255);
      map.labels.push(label.name);
    });
    return map;
  }

  // Drawn means: not one single colour. The pixels must be read in the task that drew them.
  function isDrawn(viewer) {
    const gl = viewer.gl;
    viewer.drawScene();
    const width = gl.drawingBufferWidth, height = gl.drawingBufferHeight;
    const pixels = new Uint8Array(4 * width * height);
    gl.readPixels(0, 0, width, height, gl.RGBA, gl.UNSIGNED_BYTE, pixels);
    for (let i = 4; i < pixels.length; i += 4) {
      if (Math.abs(pixels[i] - pixels[0]) > 40) return true;
    }
    return false;
  }

  const STEPS = {
    ArrowLeft: [-1, 0, 0], ArrowRight: [1, 0, 0], ArrowDown: [0, -1, 0], ArrowUp: [0, 1, 0],
    PageDown: [0, 0, -1], PageUp: [0, 0, 1],
  };

  async function draw(wrapper, data) {
    const niivue = await loadLibrary();
    const canvas = wrapper.querySelector("canvas");
    const viewer = new niivue.Niivue({
      backColor: [0.063, 0.063, 0.078, 1],
      crosshairColor: [0.85, 0.85, 0.85, 0.7],
      crosshairWidth: 0.4,
      crosshairWidthUnit: "percent",
      show3Dcrosshair: true,
      sagittalNoseLeft: false,
      multiplanarShowRender: 1,
      multiplanarLayout: 2,
      dragAndDropEnabled: false,
      logLevel: "error",
    });
    await viewer.attachToCanvas(canvas);
    for (const volume of data.volumes) {
      const image = await niivue.NVImage.loadFromUrl({ url: bytesOf(volume.data), name: volume.part + ".nii.gz" });
      if (volume.part !== "image") image.setColormapLabel(colormapOf(data.labels));
      image.opacity = OPACITY[volume.part];
      viewer.addVolume(image);
    }
    viewer.updateGLVolume();
    viewer.scene.crosshairPos = viewer.vox2frac(data.focus);

    wrapper.querySelectorAll("button").forEach(function (button) {
      const place = data.volumes.findIndex(function (volume) { return volume.part === button.dataset.part; });
      button.addEventListener("click", function () {
        const on = button.getAttribute("aria-pressed") !== "true";
        button.setAttribute("aria-pressed", String(on));
        viewer.setOpacity(place, on ? OPACITY[button.dataset.part] : 0);
      });
    });
    canvas.addEventListener("keydown", function (event) {
      const step = STEPS[event.key];
      if (!step) return;
      event.preventDefault();
      viewer.moveCrosshairInVox(step[0], step[1], step[2]);
    });
    // The wheel turns slices only where the reader has clicked first; else it scrolls the page.
    canvas.addEventListener("pointerdown", function () { canvas.focus({ preventScroll: true }); });
    canvas.parentElement.addEventListener("wheel", function (event) {
      if (document.activeElement !== canvas) event.stopPropagation();
    }, { capture: true, passive: true });
    await new Promise(requestAnimationFrame);
    if (!isDrawn(viewer)) throw new Error("nothing was drawn");
    wrapper.medsegViewer = viewer;
  }

  function fail(wrapper, text) {
    wrapper.dataset.ready = "failed";
    wrapper.querySelectorAll(".medseg-viewer-live").forEach(function (part) { part.hidden = true; });
    wrapper.querySelector(".medseg-viewer-status").textContent = text;
  }

  function start(wrapper) {
    if (root === null) {
      fail(wrapper, "The interactive viewer is part of the built book. In a running notebook, call " +
        "show(..., live=True) for a live one.");
      return;
    }
    if (!hasWebGL()) {
      fail(wrapper, "This browser offers no WebGL 2, so only the still image is shown.");
      return;
    }
    wrapper.querySelectorAll(".medseg-viewer-live").forEach(function (part) { part.hidden = false; });
    const data = JSON.parse(wrapper.querySelector("script[type='application/json']").textContent);
    const watcher = new IntersectionObserver(function (entries) {
      if (!entries.some(function (entry) { return entry.isIntersecting; })) return;
      watcher.disconnect();
      wrapper.dataset.ready = "loading";
      draw(wrapper, data).then(
        function () { wrapper.dataset.ready = "true"; },
        function (error) { fail(wrapper, "The viewer could not start (" + error.message + "); the still image is below."); }
      );
    }, { rootMargin: "200px" });
    watcher.observe(wrapper);
  }

  // Every viewer on the page carries this script; each wrapper is started once.
  document.querySelectorAll(".medseg-viewer[data-ready='waiting']").forEach(function (wrapper) {
    wrapper.dataset.ready = "observed";
    start(wrapper);
  });
})();
